//! Ids: their alphabets, reserved names, and the ids of subjects.

use proptest::{option, prelude::*};

use super::*;

#[test]
fn ids_are_bounded_and_hold_no_separator() {
    for good in ["a", "general", "team:42_x.y-z", &"a".repeat(ID_CHARS)] {
        assert_eq!(good.parse::<ChannelId>().unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a#b", "é", "a/b", "a\n", "%2e", ".%2E", &"a".repeat(ID_CHARS + 1)] {
        assert_eq!(bad.parse::<ChannelId>(), Err(IdError::Malformed), "{bad:?}");
    }
}

#[test]
fn a_dot_segment_is_no_id_of_any_kind() {
    for dots in [".", ".."] {
        assert_eq!(dots.parse::<ChannelId>(), Err(IdError::DotSegment));
        assert_eq!(dots.parse::<UserId>(), Err(IdError::DotSegment));
        assert_eq!(dots.parse::<TenantId>(), Err(IdError::DotSegment));
        assert_eq!(dots.parse::<ConnectionId>(), Err(IdError::DotSegment));
        assert!(serde_json::from_value::<UserId>(dots.into()).is_err(), "nor is one read from JSON");
    }
    // RFC 3986, section 5.2.4, removes no other segment.
    for kept in ["...", ".a", "a.", "..a", "a..", ".:", "-."] {
        assert_eq!(kept.parse::<UserId>().unwrap().as_str(), kept);
    }
}

#[test]
fn names_of_the_system_are_not_given_to_users() {
    let (plain, named) = (ReservedNames::default(), ReservedNames::with_agent("Jarvis"));
    for name in ["agent", "system", "Agent", "SYSTEM", "aGeNt"] {
        assert_eq!(plain.user(name), Err(IdError::Reserved), "{name}");
        assert_eq!(named.user(name), Err(IdError::Reserved), "{name}: the agent signs with it under any name");
        assert!(name.parse::<UserId>().unwrap().is_reserved(), "{name} can still be read");
    }
    for name in ["jarvis", "Jarvis", "JARVIS"] {
        assert_eq!(named.user(name), Err(IdError::Reserved), "{name}");
        assert_eq!(plain.user(name).unwrap().as_str(), name);
    }
    for name in ["agents", "agent.smith", "my-system", "agen", "user", "alice"] {
        assert_eq!(named.user(name).unwrap().as_str(), name);
    }
    assert_eq!(named.user(".."), Err(IdError::DotSegment));
    assert_eq!(named.user("a b"), Err(IdError::MalformedUser));
    let partner: UserPrefix = "partner".parse().unwrap();
    for name in ["agent", "System", "Jarvis"] {
        assert_eq!(named.caller(Some(&partner), name), Err(IdError::Reserved), "{name} of a partner");
        assert_eq!(named.user(&format!("partner=={name}")), Err(IdError::Reserved), "{name} of a partner");
    }
    assert!(UserId::agent().is_reserved());
}

#[test]
fn a_message_id_is_read_as_what_it_says() {
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for good in [id.to_owned(), id.to_lowercase(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned()] {
        assert!(MessageId::try_from(good.clone()).unwrap().to_string().eq_ignore_ascii_case(&good));
    }
    // Values that are too large, a value that is too short, and a letter that ULIDs do not use.
    for bad in ["Z3NDEKTSV4RRFFQ69GQ69G5FAV", "80000000000000000000000000", &id[1..], "01ARZ3NDEKTSV4RRFFQ69G5FAU"] {
        assert_eq!(MessageId::try_from(bad.to_owned()), Err(IdError::NotAUlid), "{bad}");
    }
}

#[test]
fn ids_that_are_generated_have_one_case() {
    let seed = Seed { now: Timestamp::from_secs(1_800_000_000), random: u128::MAX / 3 };
    let channel = ChannelId::generate(seed);
    assert_eq!(channel.as_str(), MessageId::generate(seed).to_string());
    let of_request = ChannelId::of_request(&"alice".parse().unwrap(), &"key".parse().unwrap());
    for id in [channel, of_request] {
        assert_eq!(id.as_str().len(), 26, "{id}");
        assert_eq!(id.as_str().to_uppercase(), id.as_str());
    }
}

#[test]
fn connection_ids_are_those_of_api_gateway() {
    assert!("L0SM9cOFvHcCIhw=".parse::<ConnectionId>().is_ok());
    assert!("a#b".parse::<ConnectionId>().is_err());
}

proptest! {
    #[test]
    fn any_text_is_an_id_or_is_refused(text in ".{0,140}") {
        let allowed = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
        let sized = !text.is_empty() && text.len() <= ID_CHARS;
        let segment = text != "." && text != "..";
        prop_assert_eq!(text.parse::<ChannelId>().is_ok(), allowed && sized && segment);
    }

    #[test]
    fn short_texts_of_dots_are_ids_but_for_two(text in "[.:a]{1,4}") {
        prop_assert_eq!(text.parse::<ChannelId>().is_ok(), text != "." && text != "..");
    }

    #[test]
    fn a_subject_gives_an_id_and_is_given_back(subject in subjects(), prefix in option::of("[A-Za-z0-9_.:-]{1,8}")) {
        let prefix: Option<UserPrefix> = prefix.map(|prefix| prefix.parse().unwrap());
        match UserId::of_subject(prefix.as_ref(), &subject) {
            Ok(id) => {
                prop_assert_eq!(id.subject(), Some(subject));
                prop_assert_eq!(id.prefix(), prefix.as_ref().map(UserPrefix::as_str));
                prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
            }
            Err(error) => {
                let longest = subject.len() * 3 + 10;
                let expected = match subject.as_str() {
                    "" => IdError::Empty,
                    "." | ".." => IdError::DotSegment,
                    _ => IdError::SubjectTooLong,
                };
                prop_assert_eq!(error, expected);
                prop_assert!(error != IdError::SubjectTooLong || longest > USER_ID_CHARS);
            }
        }
    }

    #[test]
    fn two_subjects_are_two_users(one in subjects(), other in subjects(), issuers in (0..4_usize, 0..4_usize)) {
        let prefixes: [Option<UserPrefix>; 4] = [None, Some("a"), Some("ab"), Some("a:")].map(|prefix| prefix.map(|text| text.parse().unwrap()));
        let (of_one, of_other) = (&prefixes[issuers.0], &prefixes[issuers.1]);
        let ids = (UserId::of_subject(of_one.as_ref(), &one), UserId::of_subject(of_other.as_ref(), &other));
        if let (Ok(id), Ok(other_id)) = ids {
            prop_assert_eq!(id == other_id, (of_one, one) == (of_other, other));
        }
    }

    #[test]
    fn an_id_has_one_spelling(text in "[a=4071AFf.%]{1,12}") {
        if let Ok(id) = text.parse::<UserId>() {
            let prefix: Option<UserPrefix> = id.prefix().map(|prefix| prefix.parse().unwrap());
            if let Some(subject) = id.subject() {
                prop_assert_eq!(UserId::of_subject(prefix.as_ref(), &subject), Ok(id));
            }
        }
    }
}

/// Subjects of any text, and such that are made of the characters that ids and their escapes use.
fn subjects() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[=A-F0-9a.:~#@| ]{0,12}", "\\PC{0,90}", Just(".".to_owned()), Just("..".to_owned())]
}

/// Subjects as issuers send them, and the ids of their users.
const OF_ISSUERS: [(&str, &str); 19] = [
    ("alice", "alice"),
    ("auth0|64f1a2b3c4d5e6f708192a3b", "auth0=7C64f1a2b3c4d5e6f708192a3b"),
    ("google-oauth2|103547991597142817347", "google-oauth2=7C103547991597142817347"),
    ("samlp|okta|x@y.z", "samlp=7Cokta=7Cx=40y.z"),
    ("alice@example.com", "alice=40example.com"),
    ("a+b@example.com", "a=2Bb=40example.com"),
    ("9f0c8c1e-40c1-70d9-6c54-1f6a2b7e8d90", "9f0c8c1e-40c1-70d9-6c54-1f6a2b7e8d90"),
    ("AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ"),
    ("f:4f5d0c3a-7a3e-4a43-9f3b-3c5f3a2f1e10:alice", "f:4f5d0c3a-7a3e-4a43-9f3b-3c5f3a2f1e10:alice"),
    ("CN=Al Smith,DC=x", "CN=3DAl=20Smith=2CDC=3Dx"),
    ("00u1a2B3c4D5e6F7g8h9", "00u1a2B3c4D5e6F7g8h9"),
    ("user_2abcDEF", "user_2abcDEF"),
    ("000123.0a1b2c3d4e5f.0456", "000123.0a1b2c3d4e5f.0456"),
    ("spiffe://td/ns/x", "spiffe:=2F=2Ftd=2Fns=2Fx"),
    ("ACME\\alice", "ACME=5Calice"),
    ("ALICE", "ALICE"),
    ("zo\u{eb}", "zo=C3=AB"),
    ("zoe\u{308}", "zoe=CC=88"),
    ("alice=40example.com", "alice=3D40example.com"),
];

#[test]
fn subjects_of_issuers_are_users() {
    for (subject, expected) in OF_ISSUERS {
        let id = UserId::of_subject(None, subject).unwrap();
        assert_eq!((id.as_str(), id.subject().as_deref(), id.prefix()), (expected, Some(subject), None));
    }
    let partner: UserPrefix = "partner".parse().unwrap();
    assert_eq!(UserId::of_subject(Some(&partner), "a@b").unwrap().as_str(), "partner==a=40b");
}

#[test]
fn a_user_id_has_a_length_and_one_form() {
    let fits = ["x".repeat(USER_ID_CHARS), "@".repeat(USER_ID_CHARS / 3), "\u{4e2d}".repeat(28)];
    for subject in fits {
        assert!(UserId::of_subject(None, &subject).is_ok(), "{subject}");
        let longer = format!("{subject}{subject}");
        assert_eq!(UserId::of_subject(None, &longer), Err(IdError::SubjectTooLong));
    }
    // Lower case, a byte that needs no escape, an incomplete escape, and prefixes that are none.
    for text in
        ["a=7c", "a=41", "a=3A", "=", "a=", "a=4", "==a", "a==", "a==b==c", "a=40==b", "a@b", "a b", "a~b", "a#b"]
    {
        assert_eq!(text.parse::<UserId>(), Err(IdError::MalformedUser), "{text}");
    }
    assert_eq!("=FF".parse::<UserId>().unwrap().subject(), None, "no token has this subject");
    assert!("a=40b".parse::<ChannelId>().is_err() && "a=40b".parse::<TenantId>().is_err());
    for text in ["", "a=", "a b", &"p".repeat(PREFIX_CHARS + 1)] {
        assert_eq!(text.parse::<UserPrefix>(), Err(IdError::MalformedPrefix), "{text}");
    }
}

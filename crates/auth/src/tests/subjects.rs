//! Subjects as identity providers issue them.

use super::*;

#[tokio::test]
async fn subjects_of_identity_providers_are_users() {
    let verifier = Verifier::new(vec![issuer()]).unwrap();
    let longest = format!("{}@example.com", "x".repeat(241));
    let subjects = [
        ("auth0|64f1a2b3c4d5e6f708192a3b", "auth0=7C64f1a2b3c4d5e6f708192a3b"),
        ("samlp|okta|x@y.z", "samlp=7Cokta=7Cx=40y.z"),
        ("alice@example.com", "alice=40example.com"),
        ("Alice@example.com", "Alice=40example.com"),
        ("f:4f5d0c3a-7a3e-4a43-9f3b-3c5f3a2f1e10:alice", "f:4f5d0c3a-7a3e-4a43-9f3b-3c5f3a2f1e10:alice"),
        ("CN=Al Smith,DC=x", "CN=3DAl=20Smith=2CDC=3Dx"),
        ("spiffe://td/ns/x", "spiffe:=2F=2Ftd=2Fns=2Fx"),
        ("zo\u{eb}", "zo=C3=AB"),
        ("a#b~c", "a=23b=7Ec"),
        ("\0\n", "=00=0A"),
    ];
    for (subject, expected) in subjects {
        let identity = verifier.verify(&hs256(&with("sub", subject)), NOW).await.unwrap();
        assert_eq!(identity.caller.user_id.as_str(), expected);
        assert_eq!(identity.caller.user_id.subject().as_deref(), Some(subject));
    }
    let identity = verifier.verify(&hs256(&with("sub", longest.as_str())), NOW).await.unwrap();
    assert_eq!(identity.caller.user_id.as_str().len(), 255);
}

#[tokio::test]
async fn a_prefix_keeps_the_users_of_two_issuers_apart() {
    let partner = Issuer {
        issuer: "partner".into(),
        secret: Some(Secret::new(SECRET.to_uppercase())),
        user_prefix: Some("partner".parse().unwrap()),
        ..issuer()
    };
    let verifier = Verifier::new(vec![issuer(), partner]).unwrap();
    let key = EncodingKey::from_secret(SECRET.to_uppercase().as_bytes());
    let of_partner = |subject: &str| {
        let mut claims = with("iss", "partner");
        claims["sub"] = json!(subject);
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    };
    let theirs = verifier.verify(&of_partner("alice"), NOW).await.unwrap();
    assert_eq!(theirs.caller.user_id.as_str(), "partner==alice");
    // A subject of the other issuer that looks like the id of the partner's user.
    let copied = verifier.verify(&hs256(&with("sub", "partner==alice")), NOW).await.unwrap();
    assert_eq!(copied.caller.user_id.as_str(), "partner=3D=3Dalice");
    for name in ["agent", "System"] {
        assert_eq!(verifier.verify(&of_partner(name), NOW).await, Err(wrong("sub", IdError::Reserved)), "{name}");
    }
    let settings = json!([{ "issuer": "a", "audience": "x", "secret": SECRET, "user_prefix": "a=" }]).to_string();
    let read = Issuer::read(|name| (name == "JWT_ISSUERS").then(|| settings.clone()));
    assert!(matches!(read, Err(SettingsError::Malformed { .. })));
}

#[tokio::test]
async fn faults_of_keys_and_signatures_look_alike() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = Verifier::new(vec![anything(server.uri())]).unwrap();
    let known = encode(&header(Algorithm::RS256, "rsa-a"), &claims(), &signing_key("rsa-b")).unwrap();
    let unknown = encode(&header(Algorithm::RS256, "rsa-b"), &claims(), &signing_key("rsa-b")).unwrap();
    let other = encode(&header(Algorithm::ES256, "rsa-a"), &claims(), &signing_key("p256-a")).unwrap();
    for token in [known, unknown, other] {
        assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid));
    }
}

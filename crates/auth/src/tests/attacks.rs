//! The attack matrix: each refused token, beside its accepted twin.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Returns a token with the given header and payload texts, signed with the shared secret.
fn raw(header: &str, payload: &str) -> String {
    let input = format!("{}.{}", part(header), part(payload));
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &signing_key("secret"), Algorithm::HS256).unwrap();
    format!("{input}.{signature}")
}

#[tokio::test]
async fn each_algorithm_verifies_with_its_own_kind_of_key_and_with_no_other() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let server = serving(all_keys()).await;
    let verifier = Verifier::new(vec![anything(server.uri())]).unwrap();
    let kinds: [(&str, &[Algorithm]); 5] = [
        ("secret", &[HS256, HS384, HS512]),
        ("rsa-a", &[RS256, RS384, RS512, PS256, PS384, PS512]),
        ("p256-a", &[ES256]),
        ("p384", &[ES384]),
        ("ed25519", &[EdDSA]),
    ];
    for (key, algorithms) in kinds {
        for algorithm in algorithms {
            let token = signed(*algorithm, key, &claims());
            assert_eq!(verifier.verify(&token, NOW).await.unwrap().caller.user_id.as_str(), "alice", "{algorithm:?}");
            // The same signature with another key's id.
            for (other, _) in kinds.iter().filter(|(other, _)| *other != key && *other != "secret") {
                let token = encode(&header(*algorithm, other), &claims(), &signing_key(key)).unwrap();
                let accepted = verifier.verify(&token, NOW).await;
                // A secret has no id, so the `kid` is ignored.
                assert_eq!(accepted.is_ok(), key == "secret", "{algorithm:?} of {key} as {other}");
            }
            // An issuer that does not list the algorithm.
            let narrow = if key == "secret" { RS256 } else { HS256 };
            let narrow = Issuer { algorithms: vec![narrow], ..anything(server.uri()) };
            let verifier = Verifier::new(vec![narrow]).unwrap();
            assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid), "{algorithm:?} is not configured");
        }
    }
}

#[tokio::test]
async fn forged_tokens_are_refused_and_their_valid_twins_accepted() {
    let server = serving(all_keys()).await;
    let verifier = Verifier::new(vec![anything(server.uri())]).unwrap();
    let valid = signed(Algorithm::RS256, "rsa-a", &claims());
    assert!(verifier.verify(&valid, NOW).await.is_ok());
    let payload = claims().to_string();
    let hs = r#"{"alg":"HS256","typ":"JWT"}"#;
    assert!(verifier.verify(&raw(hs, &payload), NOW).await.is_ok());
    let (signed_part, _) = valid.rsplit_once('.').unwrap();
    let claimed = |name: &str, value: Value| {
        let mut header = json!({ "alg": "RS256", "kid": "rsa-a" });
        header[name] = value;
        let input = format!("{}.{}", part(&header.to_string()), part(&payload));
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &signing_key("rsa-b"), Algorithm::RS256).unwrap();
        format!("{input}.{signature}")
    };
    // HS256 with the public key as the secret, as PEM: the classic algorithm confusion.
    let confused = {
        let public = EncodingKey::from_secret(include_bytes!("keys/rsa-a.pub.pem"));
        encode(&header(Algorithm::HS256, "rsa-a"), &claims(), &public).unwrap()
    };
    // And as DER, which some libraries return.
    let confused_der = {
        let pem = include_str!("keys/rsa-a.pub.pem");
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        encode(&header(Algorithm::HS256, "rsa-a"), &claims(), &EncodingKey::from_secret(&der)).unwrap()
    };
    let wrong_curve = {
        let input = format!("{}.{}", part(r#"{"alg":"ES384","kid":"p256-a"}"#), part(&payload));
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &signing_key("p384"), Algorithm::ES384).unwrap();
        format!("{input}.{signature}")
    };
    let of_another_key = |kid: &str| encode(&header(Algorithm::RS256, kid), &claims(), &signing_key("rsa-b")).unwrap();
    let nameless = encode(&Header::new(Algorithm::RS256), &claims(), &signing_key("rsa-a")).unwrap();
    let attacks = [
        ("alg none", format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&payload))),
        ("alg None", format!("{}.{}.", part(r#"{"alg":"None"}"#), part(&payload))),
        ("alg nONE, with a signature", raw(r#"{"alg":"nONE"}"#, &payload)),
        ("no alg", raw("{}", &payload)),
        ("HS256 with the RSA public key", confused),
        ("HS256 with the RSA public key as DER", confused_der),
        ("ES384 under the kid of a P-256 key", wrong_curve),
        ("a wrong key under a known kid", of_another_key("rsa-a")),
        ("an unknown kid", of_another_key("rsa-b")),
        ("no kid", nameless),
        ("a kid with a path", of_another_key("../../dev/null")),
        ("a kid with SQL", of_another_key("x' UNION SELECT 'key' --")),
        ("an empty kid", of_another_key("")),
        ("an embedded jwk", claimed("jwk", public("rsa-b", Algorithm::RS256))),
        ("a jku", claimed("jku", json!(server.uri()))),
        ("an x5u", claimed("x5u", json!(server.uri()))),
        ("an x5c", claimed("x5c", json!(["MIIB"]))),
        ("crit: null", raw(r#"{"alg":"HS256","crit":null}"#, &payload)),
        ("an unknown header name twice", raw(r#"{"alg":"HS256","x":1,"x":1}"#, &payload)),
        ("a nested name twice", raw(hs, &payload.replacen('{', r#"{"act":{"sub":"a","sub":"b"},"#, 1))),
        ("a nested name twice in an array", raw(hs, &payload.replacen('{', r#"{"x":[{"a":1,"a":1}],"#, 1))),
        ("a critical extension", raw(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, &payload)),
        ("another type", raw(r#"{"alg":"HS256","typ":"dpop+jwt"}"#, &payload)),
        ("alg twice", raw(r#"{"alg":"HS256","alg":"HS256"}"#, &payload)),
        ("sub twice", raw(hs, &payload.replacen('{', r#"{"sub":"mallory","#, 1))),
        ("iss twice", raw(hs, &payload.replacen('{', r#"{"iss":"issuer","#, 1))),
        ("a payload that is no object", raw(hs, "[]")),
        ("a payload that is no JSON", raw(hs, "x")),
        ("no signature", format!("{signed_part}.")),
        ("no signature and no dot", signed_part.to_owned()),
        ("a truncated signature", valid[..valid.len() - 3].to_owned()),
        ("a fourth part", format!("{valid}.x")),
        ("no parts", "abc".into()),
        ("nothing but dots", "..".into()),
        ("text", "…".into()),
        ("100 KB", "a".repeat(100_000)),
        ("100 KB of claims", hs256(&with("x", "x".repeat(100_000)))),
    ];
    for (attack, token) in attacks {
        assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid), "{attack}");
    }
    assert_eq!(verifier.verify("", NOW).await, Err(AuthError::Missing));
    for twin in
        [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","typ":"at+jwt"}"#, r#"{"alg":"HS256","typ":"application/JWT"}"#]
    {
        assert!(verifier.verify(&raw(twin, &payload), NOW).await.is_ok(), "{twin}");
    }
}

#[tokio::test]
async fn no_issuer_s_key_verifies_a_token_of_another() {
    let (a, b) = (
        serving(vec![public("rsa-a", Algorithm::RS256)]).await,
        serving(vec![public("rsa-b", Algorithm::RS256)]).await,
    );
    let of = |name: &str, url: String| Issuer { issuer: name.into(), secret: None, jwks_url: Some(url), ..issuer() };
    let verifier = Verifier::new(vec![of("a", a.uri()), of("b", b.uri())]).unwrap();
    for (name, key, other) in [("a", "rsa-a", "rsa-b"), ("b", "rsa-b", "rsa-a")] {
        let claims = with("iss", name);
        assert!(verifier.verify(&signed(Algorithm::RS256, key, &claims), NOW).await.is_ok());
        let foreign = signed(Algorithm::RS256, other, &claims);
        assert_eq!(verifier.verify(&foreign, NOW).await, Err(AuthError::Invalid));
        let renamed = encode(&header(Algorithm::RS256, key), &claims, &signing_key(other)).unwrap();
        assert_eq!(verifier.verify(&renamed, NOW).await, Err(AuthError::Invalid));
    }
}

#[tokio::test]
async fn a_key_does_only_what_its_own_parameters_allow() {
    let key = |field: &str, value: Value| {
        let mut jwk = public("rsa-a", Algorithm::RS256);
        jwk[field] = value;
        jwk
    };
    let cases = [
        (public("rsa-a", Algorithm::RS256), true),
        (key("alg", json!("RS256")), true),
        (key("use", json!("sig")), true),
        (key("key_ops", json!(["verify"])), true),
        (key("alg", json!("PS256")), false),
        (key("alg", json!("RS512")), false),
        (key("alg", json!("RSA-OAEP")), false),
        (key("use", json!("enc")), false),
        (key("key_ops", json!(["encrypt"])), false),
    ];
    for (jwk, usable) in cases {
        let server = serving(vec![jwk.clone()]).await;
        let verifier = Verifier::new(vec![anything(server.uri())]).unwrap();
        let token = signed(Algorithm::RS256, "rsa-a", &claims());
        assert_eq!(verifier.verify(&token, NOW).await.is_ok(), usable, "{jwk}");
    }
    let weak = {
        let mut jwk = public("rsa-a", Algorithm::RS256);
        let modulus = jwk["n"].as_str().unwrap()[..171].to_owned();
        jwk["n"] = json!(modulus);
        jwk
    };
    let server = serving(vec![weak]).await;
    let verifier = Verifier::new(vec![anything(server.uri())]).unwrap();
    let token = signed(Algorithm::RS256, "rsa-a", &claims());
    assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid), "1,024 bits");
    let twice = serving(vec![public("rsa-a", Algorithm::RS256), public("rsa-a", Algorithm::RS256)]).await;
    let verifier = Verifier::new(vec![anything(twice.uri())]).unwrap();
    let token = signed(Algorithm::RS256, "rsa-a", &claims());
    assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid), "two keys with one id");
}

//! Configurations of identity providers, as `docs/guides/identity-providers.md` has them.

use super::*;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/identity-providers.md");

/// Returns the issuer in the block of the guide that follows the mark with a name.
fn configured(name: &str) -> Issuer {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (_, rest) = guide.split_once(&format!("<!-- issuers: {name} -->")).unwrap();
    let (_, rest) = rest.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    let mut issuers = Issuer::read(|variable| (variable == "JWT_ISSUERS").then(|| json.to_owned())).unwrap();
    assert_eq!(issuers.len(), 1, "{name}");
    issuers.remove(0)
}

/// Returns a verifier with the issuer of a block, whose keys a server of the test has.
fn verifier(name: &str, server: &MockServer) -> Verifier {
    Verifier::new(vec![Issuer { jwks_url: Some(server.uri()), ..configured(name) }]).unwrap()
}

/// Returns the claims of an access token by Auth0's documentation, for an API and for the page with the user's profile.
fn auth0() -> Value {
    json!({
        "iss": "https://YOUR-TENANT.eu.auth0.com/", "sub": "auth0|64f1a2b3",
        "aud": ["https://chat.example.com", "https://YOUR-TENANT.eu.auth0.com/userinfo"],
        "azp": "client", "scope": "openid profile", "iat": EPOCH - 5, "exp": EPOCH + 600,
    })
}

/// Returns the claims of a token by Cognito's documentation, without `aud`.
fn cognito(token_use: &str) -> Value {
    json!({
        "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_EXAMPLE",
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "client_id": "1example23456789", "token_use": token_use,
        "scope": "openid", "iat": EPOCH - 5, "exp": EPOCH + 600,
    })
}

/// Returns the claims of an access token by Keycloak's documentation, with the audience of a mapper.
fn keycloak() -> Value {
    json!({
        "iss": "https://id.example.com/realms/YOUR-REALM", "sub": "2f605b7b-4a27-467a-a090-bc3de1102873",
        "aud": ["https://chat.example.com", "account"], "azp": "page", "typ": "Bearer", "scope": "openid",
        "iat": EPOCH - 5, "exp": EPOCH + 600,
    })
}

fn changed(mut claims: Value, name: &str, value: &str) -> Value {
    claims[name] = value.into();
    claims
}

#[test]
fn the_blocks_of_the_guide_are_configurations() {
    for name in ["auth0", "cognito-access", "cognito-id", "keycloak"] {
        assert!(Verifier::new(vec![configured(name)]).is_ok(), "{name}");
    }
}

#[tokio::test]
async fn tokens_of_the_providers_are_accepted() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let cases = [
        ("auth0", auth0(), "auth0=7C64f1a2b3"),
        (
            "cognito-access",
            changed(cognito("access"), "aud", "https://chat.example.com"),
            "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        ),
        ("cognito-id", changed(cognito("id"), "aud", "1example23456789"), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"),
        ("keycloak", keycloak(), "2f605b7b-4a27-467a-a090-bc3de1102873"),
    ];
    for (name, claims, user) in cases {
        let token = signed(Algorithm::RS256, "rsa-a", &claims);
        let identity = verifier(name, &server).verify(&token, NOW).await.unwrap();
        assert_eq!(identity.caller.user_id.as_str(), user, "{name}");
    }
}

#[tokio::test]
async fn tokens_that_the_guide_warns_of_are_refused() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let cases = [
        (
            "auth0",
            changed(auth0(), "iss", "https://YOUR-TENANT.eu.auth0.com"),
            wrong("iss", ClaimProblem::UnknownIssuer),
        ),
        ("cognito-access", cognito("access"), wrong("aud", ClaimProblem::Missing)),
        ("keycloak", changed(keycloak(), "aud", "account"), wrong("aud", ClaimProblem::OtherAudience)),
    ];
    for (name, claims, expected) in cases {
        let token = signed(Algorithm::RS256, "rsa-a", &claims);
        assert_eq!(verifier(name, &server).verify(&token, NOW).await, Err(expected), "{name}");
    }
}

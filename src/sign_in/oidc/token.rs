//! The exchange of a code for tokens (OpenID Connect Core 1.0, section 3.1.3; RFC 7636, section 4.5). A code is sent once,
//! to one address, whatever comes back.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use openidconnect::core::{CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreTokenType};
use openidconnect::{
    AccessToken, AsyncHttpClient, AuthType, AuthorizationCode, ClientSecret, EmptyAdditionalClaims, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IdToken, OAuth2TokenResponse, PkceCodeVerifier, RefreshToken,
    RequestTokenError, Scope, TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::Client;
use super::discovery::{Metadata, shown};
use super::http::{Answer, NoAnswer, ProviderClient};
use crate::config::{ClientAuth, Oidc};
use crate::sign_in::attempt::Attempt;

/// What the token endpoint gave.
#[expect(clippy::struct_field_names, reason = "the names are OAuth's")]
pub(super) struct Tokens {
    pub(super) id_token: SecretString,
    pub(super) access_token: Option<SecretString>,
    pub(super) refresh_token: Option<SecretString>,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTokens {
    #[error("the token endpoint: {0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("the provider announces no usable token_endpoint")]
    NoEndpoint,
    #[error("the token endpoint answers {0}")]
    Down(StatusCode),
    /// The client is not who the provider thinks it is.
    #[error("the provider does not accept this client ({error}): {fix}")]
    Client { error: String, fix: &'static str },
    #[error("the token endpoint refuses the code: {0}")]
    Refused(String),
    #[error("the token endpoint answers {0} with nothing that is understood")]
    NotUnderstood(StatusCode),
    #[error("the token endpoint gave no ID token: is the scope openid allowed for this client?")]
    NoIdToken,
}

/// Exchanges a code.
pub(super) async fn exchange(
    http: &ProviderClient,
    client: &Client,
    metadata: &Metadata,
    settings: &Oidc,
    code: &str,
    attempt: &Attempt,
) -> Result<Tokens, NoTokens> {
    let ask = |request| http.ask(request).boxed();
    exchange_by(&ask, client, metadata, settings, code, attempt).await
}

/// Asks the token endpoint: [`ProviderClient::ask`], but for tests.
type Ask<'a> = dyn Fn(Request<Bytes>) -> BoxFuture<'a, Result<Answer, NoAnswer>> + Sync + 'a;

/// The library makes the request and reads a 200; what other answers mean is said here, where the status is known.
async fn exchange_by<'a>(
    ask: &'a Ask<'a>,
    client: &Client,
    metadata: &Metadata,
    settings: &Oidc,
    code: &str,
    attempt: &Attempt,
) -> Result<Tokens, NoTokens> {
    let endpoint = metadata.token_endpoint.clone().ok_or(NoTokens::NoEndpoint)?;
    let auth = metadata.client_auth(settings);
    let client = authenticated(
        client.clone().set_token_uri(TokenUrl::from_url(endpoint)),
        settings,
        auth,
    );
    let answer = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.clone()))
        .request_async(&TokenEndpoint { ask, auth })
        .await
        .map_err(|error| match error {
            RequestTokenError::Request(error) => error,
            // The request could not be made: the endpoint's URL is no URI.
            RequestTokenError::Other(_) => NoTokens::NoEndpoint,
            RequestTokenError::Parse(..) | RequestTokenError::ServerResponse(_) => {
                NoTokens::NotUnderstood(StatusCode::OK)
            }
        })?;
    let filled = |text: String| (!text.is_empty()).then(|| SecretString::from(text));
    Ok(Tokens {
        id_token: answer.id_token.ok_or(NoTokens::NoIdToken)?,
        access_token: filled(answer.access_token.into_secret()),
        refresh_token: answer.refresh_token.map(RefreshToken::into_secret).and_then(filled),
    })
}

/// The token endpoint as the library reaches it.
struct TokenEndpoint<'a> {
    ask: &'a Ask<'a>,
    auth: ClientAuth,
}

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = NoTokens;
    type Future = BoxFuture<'c, Result<HttpResponse, NoTokens>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        async move { readable((self.ask)(masked(request)).await?, self.auth) }.boxed()
    }
}

/// Says who asks. The library form-encodes id and secret for Basic (RFC 6749, section 2.3.1), and without a secret names
/// the id in the body.
fn authenticated(
    client: Client<EndpointNotSet, EndpointSet>,
    settings: &Oidc,
    auth: ClientAuth,
) -> Client<EndpointNotSet, EndpointSet> {
    let way = match auth {
        ClientAuth::Basic => AuthType::BasicAuth,
        ClientAuth::Post => AuthType::RequestBody,
        ClientAuth::None | ClientAuth::Auto => return client.set_auth_type(AuthType::RequestBody),
    };
    let secret = settings
        .client_secret
        .as_ref()
        .map_or("", |secret| secret.expose_secret());
    client
        .set_client_secret(ClientSecret::new(secret.to_owned()))
        .set_auth_type(way)
}

/// The library does not mark the secret as one.
fn masked(request: HttpRequest) -> Request<Bytes> {
    let mut request = request.map(Bytes::from);
    if let Some(credentials) = request.headers_mut().get_mut(AUTHORIZATION) {
        credentials.set_sensitive(true);
    }
    request
}

/// What the library is given to read: a 200 that is one JSON text (it would stop after the first), without its headers (it
/// refuses JSON under another name, which providers do send).
fn readable(answer: Answer, auth: ClientAuth) -> Result<HttpResponse, NoTokens> {
    if answer.status != StatusCode::OK {
        return Err(refusal(answer.status, &answer.body, auth));
    }
    if serde_json::from_slice::<IgnoredAny>(&answer.body).is_err() {
        return Err(NoTokens::NotUnderstood(answer.status));
    }
    Ok(HttpResponse::new(answer.body.into()))
}

/// What is read of a 200. The library's own type refuses the whole answer for an `expires_in` in quotes, a missing
/// `token_type`, a `scope` as a list, or any claim of the ID token that it does not like; of all that we need nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Map<String, Value>")]
#[expect(clippy::struct_field_names, reason = "the names are OAuth's")]
pub(super) struct TokenAnswer {
    /// As it came, for `jose`.
    id_token: Option<SecretString>,
    /// Empty if there is none.
    access_token: AccessToken,
    refresh_token: Option<RefreshToken>,
}

impl From<Map<String, Value>> for TokenAnswer {
    fn from(mut answer: Map<String, Value>) -> Self {
        let mut text = |name| match answer.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        Self {
            id_token: text("id_token").map(SecretString::from),
            access_token: AccessToken::new(text("access_token").unwrap_or_default()),
            refresh_token: text("refresh_token").map(RefreshToken::new),
        }
    }
}

/// The library asks for it and never does it: tokens are written nowhere.
impl Serialize for TokenAnswer {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("tokens are not written"))
    }
}

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &CoreTokenType {
        &CoreTokenType::Bearer
    }

    fn expires_in(&self) -> Option<std::time::Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

type LibrarysIdToken =
    IdToken<EmptyAdditionalClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

impl TokenResponse<EmptyAdditionalClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>
    for TokenAnswer
{
    /// None: the library's type has read the claims, and refused them where they are not to its taste.
    fn id_token(&self) -> Option<&LibrarysIdToken> {
        None
    }
}

/// What an answer means that is no 200.
fn refusal(status: StatusCode, body: &[u8], auth: ClientAuth) -> NoTokens {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let text = |name: &str| {
        answer
            .as_ref()
            .and_then(|answer| answer.get(name))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    match text("error") {
        // RFC 6749, section 5.2. Some providers call it unauthorized_client, or only say 401.
        Some(error @ ("invalid_client" | "unauthorized_client")) => NoTokens::Client {
            error: error.to_owned(),
            fix: fix_for(auth),
        },
        _ if status == StatusCode::UNAUTHORIZED => NoTokens::Client {
            error: "401".to_owned(),
            fix: fix_for(auth),
        },
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => NoTokens::Down(status),
        Some(error) => NoTokens::Refused(match text("error_description") {
            Some(description) => format!("{} ({})", shown(error), shown(description)),
            None => shown(error),
        }),
        None => NoTokens::NotUnderstood(status),
    }
}

const fn fix_for(auth: ClientAuth) -> &'static str {
    match auth {
        ClientAuth::Post => "check OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, or try OIDC_CLIENT_AUTH=basic",
        ClientAuth::None => "set OIDC_CLIENT_SECRET, or make the client a public one at the provider",
        ClientAuth::Basic | ClientAuth::Auto => {
            "check OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, or try OIDC_CLIENT_AUTH=post"
        }
    }
}

#[cfg(test)]
mod tests;

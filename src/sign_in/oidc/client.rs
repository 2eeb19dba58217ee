//! Ourselves as `openidconnect` knows us: the types that it is given, the id, the redirect URI.

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
};
use openidconnect::{
    ClientId, EmptyAdditionalClaims, EndpointNotSet, IssuerUrl, JsonWebKeySet, RedirectUrl, StandardErrorResponse,
};

use super::token::TokenAnswer;
use crate::config::Oidc;
use crate::sign_in::CannotStart;

/// The library's client. Endpoints are set for each use, since they may be announced anew.
pub(super) type Client<HasAuthUrl = EndpointNotSet, HasTokenUrl = EndpointNotSet> = openidconnect::Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    HasAuthUrl,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    HasTokenUrl,
    EndpointNotSet,
>;

/// The client, without endpoints and secret; keys it never gets, since it verifies nothing here.
pub(super) fn client(settings: &Oidc, redirect_uri: String) -> Result<Client, CannotStart> {
    let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| CannotStart::Issuer(error.to_string()))?;
    let redirect_uri = RedirectUrl::new(redirect_uri).map_err(|error| CannotStart::RedirectUri(error.to_string()))?;
    Ok(Client::new(
        ClientId::new(settings.client_id.clone()),
        issuer,
        JsonWebKeySet::default(),
    )
    .set_redirect_uri(redirect_uri)
    // `start` has the one list of scopes.
    .disable_openid_scope())
}

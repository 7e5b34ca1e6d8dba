//! Says how calls prove who they are.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::template;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A user mapping option: a secret or part of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub name: String,
    pub help: String,
}

/// How calls prove who they are.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Calls need no proof, or none are made (sources that only send webhooks).
    None {
        #[serde(default)]
        credentials: Vec<Credential>,
    },
    /// `Authorization: Bearer <credential>`.
    Bearer {
        secret: String,
        #[serde(default)]
        credentials: Vec<Credential>,
    },
    /// HTTP basic; user and password are templates over the credentials.
    Basic {
        user: String,
        password: String,
        #[serde(default)]
        credentials: Vec<Credential>,
    },
    /// A header of the app's own; `value` is a template over the credentials.
    Header {
        header: String,
        value: String,
        #[serde(default)]
        credentials: Vec<Credential>,
    },
    /// A parameter of every call; `value` is a template over the credentials.
    Query {
        param: String,
        value: String,
        #[serde(default)]
        credentials: Vec<Credential>,
    },
    /// Access tokens from a token endpoint. The grant is the first of `grants` whose credentials are all set.
    Oauth2 {
        /// Template, e.g. `{login_url}/services/oauth2/token`.
        token_url: String,
        grants: Vec<Grant>,
        #[serde(default)]
        credentials: Vec<Credential>,
        /// Pointer in the token answer to the address that calls go to.
        #[serde(default)]
        base_url: Option<String>,
        /// Assumed when the answer has no `expires_in`.
        lifetime_seconds: u64,
        /// `error` values of the token endpoint that mean "renew the credential", not "try again".
        #[serde(default)]
        rejected: Vec<String>,
        /// How the token request differs from a form of RFC 6749, and where its answer says things.
        #[serde(default)]
        request: Box<TokenRequest>,
        /// The header that carries the token, and its value: `Authorization` and `Bearer {access_token}` when absent.
        #[serde(default)]
        header: Option<String>,
        #[serde(default)]
        value: Option<String>,
    },
    /// The first of `options` whose credentials are all set. All credentials are listed here, none in the options.
    OneOf { options: Vec<Auth>, credentials: Vec<Credential> },
}

impl Auth {
    pub fn credentials(&self) -> &[Credential] {
        match self {
            Auth::None { credentials }
            | Auth::Bearer { credentials, .. }
            | Auth::Basic { credentials, .. }
            | Auth::Header { credentials, .. }
            | Auth::Query { credentials, .. }
            | Auth::Oauth2 { credentials, .. }
            | Auth::OneOf { credentials, .. } => credentials,
        }
    }

    /// What is used when these credentials are set. Where none is complete, the first: its error says what is missing.
    pub fn chosen(&self, is_set: &dyn Fn(&str) -> bool) -> &Auth {
        match self {
            Auth::OneOf { options, .. } => {
                let complete = options.iter().find(|option| option.is_complete(is_set));
                complete.or(options.first()).map_or(self, |option| option.chosen(is_set))
            }
            other => other,
        }
    }

    /// Whether some way of it needs an access token.
    pub fn may_use_tokens(&self) -> bool {
        match self {
            Auth::Oauth2 { .. } => true,
            Auth::OneOf { options, .. } => options.iter().any(Auth::may_use_tokens),
            _ => false,
        }
    }

    fn is_complete(&self, is_set: &dyn Fn(&str) -> bool) -> bool {
        let filled = |text: &str| template::required_names(text).all(is_set);
        match self {
            Auth::None { .. } => true,
            Auth::Bearer { secret, .. } => is_set(secret),
            Auth::Basic { user, password, .. } => filled(user) && filled(password),
            Auth::Header { value, .. } | Auth::Query { value, .. } => filled(value),
            Auth::Oauth2 { grants, .. } => grants.iter().any(|grant| grant.needs.iter().all(|name| is_set(name))),
            Auth::OneOf { options, .. } => options.iter().any(|option| option.is_complete(is_set)),
        }
    }
}

/// How a token is asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    #[serde(default)]
    pub send: SendAs,
    /// Further fields beside those of the grant (`scope`, `account_id`); templates over credentials and settings.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Pointers into the answer, where they differ from `/access_token`, `/expires_in` and `/error`.
    #[serde(default)]
    pub access_token: Option<String>,
    #[serde(default)]
    pub expires_in: Option<String>,
    #[serde(default)]
    pub error: Option<String>,
}

/// Where the fields of a token request go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendAs {
    #[default]
    Form,
    Json,
    /// As parameters of a GET (Marketo).
    Query,
}

/// How the client proves itself to the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_id` and `client_secret` among the fields.
    #[default]
    Body,
    /// HTTP basic instead.
    Basic,
}

/// One OAuth 2.0 grant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub grant_type: GrantType,
    /// The credentials it needs; it is chosen when all are set.
    pub needs: Vec<String>,
    /// For `jwt_bearer`: template of the `aud` claim.
    #[serde(default)]
    pub audience: Option<String>,
    /// For `jwt_bearer`: templates of further claims, or of others than `iss` from `client_id` and `sub` from `username`.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    RefreshToken,
    ClientCredentials,
    JwtBearer,
}

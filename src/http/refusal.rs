//! Why a caller is not authenticated, and what it is told.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::problem::{Kind, Problem};

/// Why a caller was not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoToken,
    UnknownToken,
    ForeignPage,
    NotFromDashboard,
}

impl Refusal {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::ForeignPage => "foreign_page",
            Self::NotFromDashboard => "not_from_dashboard",
        }
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::UnknownToken => StatusCode::UNAUTHORIZED,
            Self::ForeignPage | Self::NotFromDashboard => StatusCode::FORBIDDEN,
        }
    }

    /// What the caller is told.
    pub fn problem(self) -> Problem {
        let (kind, detail, challenge) = match self {
            Self::NoToken => (Kind::Unauthorized, "no token was sent; add Authorization: Bearer <token>", "Bearer"),
            Self::UnknownToken => {
                (Kind::Unauthorized, "the token is unknown; ask the operator for one", "Bearer error=\"invalid_token\"")
            }
            Self::ForeignPage => {
                let detail = "no tokens are configured, so only programs and pages on this machine may call, and not through a \
                              proxy; configure access.tokens to allow others";
                return Problem::new(Kind::Forbidden, detail);
            }
            Self::NotFromDashboard => {
                let detail = "a session's cookie changes nothing but from the dashboard itself; programs send \
                              Authorization: Bearer <token>";
                return Problem::new(Kind::Forbidden, detail);
            }
        };
        Problem::new(kind, detail).header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

//! The API's description: the OpenAPI document, Swagger UI, and a page about each problem type.

mod clients;

use std::sync::{Arc, LazyLock};

use axum::{
    Json, Router,
    extract::Path,
    http::header,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};
use utoipa_swagger_ui::Config;

use super::{
    AppState,
    problem::{self, Kind, Problem},
};

/// Swagger UI loads nothing from other hosts. It uses icons from data URLs and inline styles.
const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The errors of every route with a token.
const WITH_TOKEN: [(&str, &str); 3] = [
    ("401", "Missing or unknown token"),
    ("403", "The token's role does not allow this"),
    ("503", "Overloaded, or the database is unavailable or busy; `Retry-After` says when to retry"),
];
/// The errors of every route with a body.
const WITH_BODY: [(&str, &str); 4] = [
    ("408", "The body arrived too slowly"),
    ("413", "The body exceeds 256 KiB"),
    ("415", "The body is not sent as `application/json`"),
    ("422", "Invalid body; `errors` lists everything that is wrong"),
];

/// Built once per process.
static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(openapi);

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/openapi.json", get(async || Json(&*DOCUMENT)))
        .route("/docs", get(async || Redirect::to("/docs/")))
        .route("/docs/", get(async || page("index.html")))
        .route("/docs/{*file}", get(async |Path(file): Path<String>| page(&file)))
        .route("/problems", get(async || problem_page("")))
        .route("/problems/{name}", get(async |Path(name): Path<String>| problem_page(&name)))
}

/// The OpenAPI document of `feebox serve`.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, routes) = super::routes().split_for_parts();
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let description = format!(
        "Submit quotes; each gets exactly one fee. Amounts are integers in minor units. Errors are RFC 9457 problems of \
         these types, each of which has a page at its address:\n\n{}",
        problem::problem_types()
    );
    let info = InfoBuilder::new()
        .title("Feebox")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .license(Some(license));
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A configured token. If none is configured, everybody on loopback is operator."));
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    let tags = [
        tag("quotes", "Submit, read and cancel quotes"),
        tag("operations", "Monitor deliveries; retry and cancel events, pause destinations"),
        tag("health", "Health checks and metrics; no token needed"),
    ];
    let mut document = OpenApiBuilder::from(routes).info(info.build()).tags(Some(tags)).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    let mut schemas = vec![(problem::Body::name().into_owned(), problem::Body::schema())];
    problem::Body::schemas(&mut schemas);
    components.schemas.extend(schemas);
    describe_problems(&mut document);
    clients::fit(&mut document);
    document
}

/// Adds the errors that every route with a token, and every route with a body, may answer, and gives all errors the problem
/// schema.
fn describe_problems(document: &mut OpenApi) {
    let paths = document.paths.paths.values_mut();
    for operation in paths.flat_map(|path| [&mut path.get, &mut path.post]).flatten() {
        let answers = &mut operation.responses.responses;
        let with_token = operation.security.as_ref().map_or(&[][..], |_| &WITH_TOKEN);
        let with_body = operation.request_body.as_ref().map_or(&[][..], |_| &WITH_BODY);
        for (status, description) in with_token.iter().chain(with_body) {
            // A route may describe one of them in its own words.
            let answer = || RefOr::T(ResponseBuilder::new().description(*description).build());
            answers.entry((*status).to_owned()).or_insert_with(answer);
        }
        for (_, answer) in answers.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
            if let RefOr::T(answer) = answer {
                let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                answer.content.insert(problem::MEDIA_TYPE.to_owned(), RefOr::T(problem));
            }
        }
    }
}

/// The page that a problem's `type` leads to; without a name, the list of them.
fn problem_page(name: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    match problem::page(name) {
        Some(page) => (headers, page).into_response(),
        None => {
            Problem::new(Kind::NotFound, format!("there is no problem type {name:?}; see /problems")).into_response()
        }
    }
}

/// A file of Swagger UI.
fn page(file: &str) -> Response {
    // By default Swagger UI sends the document to a validator on another host.
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));
    match utoipa_swagger_ui::serve(file, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            let headers = [(header::CONTENT_TYPE, &*file.content_type), (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
            (headers, file.bytes.into_owned()).into_response()
        }
        Ok(None) => Problem::new(Kind::NotFound, format!("there is no file {file:?} below /docs/")).into_response(),
        Err(error) => Problem::internal(&format!("Swagger UI: {error}")).into_response(),
    }
}

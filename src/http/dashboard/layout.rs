//! What is around each page, and what is shown in place of one.

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use super::{
    super::access::Caller,
    address::{Address, DETAILS, PAGES},
    format::iso,
    text::{Language, say},
    view::{View, content, title},
};
use crate::settings::Role;

/// What the reader is told in place of a page.
pub(super) enum Instead<'a> {
    /// To log in; why the session will not do.
    LogIn(Option<&'a str>),
    /// That there is no such page.
    Unknown,
    /// That this role has no dashboard.
    Submitter,
}

/// A page as the browser gets it.
pub(super) fn page(view: &View<'_>) -> Markup {
    let (language, at) = (view.language(), view.address);
    let main = html! { div data-key=(at.path) { (content(view)) } };
    let (caller, age) = (Some(&view.reader.caller), view.age());
    let around = Around { at: Some(at), caller, age, failed: view.failed(), failing: view.failing() };
    document(language, title(at.page), &around, &main)
}

/// What is shown in place of a page.
pub(super) fn instead(language: Language, what: &Instead<'_>, caller: Option<&Caller>) -> Markup {
    let t = |key: &str| say!(language, key);
    let (title, main) = match what {
        Instead::LogIn(why) => ("session.title", log_in(language, *why)),
        Instead::Unknown => {
            ("page.unknown", html! { h1 { (t("page.unknown")) } p { a href="/" { (t("nav.overview")) } } })
        }
        Instead::Submitter => ("session.title", html! { h1 { (t("session.submitter")) } }),
    };
    let around = Around { at: None, caller, age: 0, failed: None, failing: None };
    document(language, title, &around, &html! { div data-key="instead" { (main) } })
}

/// What is known of a page besides what it shows.
struct Around<'a> {
    at: Option<&'a Address>,
    caller: Option<&'a Caller>,
    /// How old the oldest answer is, in seconds.
    age: u64,
    /// Why something is not there: a script keeps what it shows, and tells that.
    failed: Option<String>,
    /// Since when something is shown that could not be renewed, and why: a script tells how old it is.
    failing: Option<(DateTime<Utc>, String)>,
}

fn document(language: Language, title: &str, around: &Around<'_>, main: &Markup) -> Markup {
    let t = |key: &str| say!(language, key);
    let Around { at, caller, age, failed, failing } = around;
    let (since, failing) = failing.as_ref().map(|(since, failing)| (iso(*since), failing)).unzip();
    let role = caller.map(|caller| role(caller.role()));
    html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (t(title)) " · Feebox" }
                link rel="icon" href="/dashboard/icon.svg";
                link rel="stylesheet" href="/dashboard/style/base.css";
                link rel="stylesheet" href="/dashboard/style/parts.css";
                script src="/dashboard/main.js" type="module" {}
            }
            body data-role=[role] data-age=(age) data-failed=[failed.as_ref()] data-since=[since] data-failing=[failing] {
                a class="skip" href="#main" { (t("shell.skip")) }
                (header(language, *at, *caller))
                noscript { p class="stalled" { (t("shell.no_script")) } }
                div id="notices" {}
                div id="stalled" {}
                main id="main" tabindex="-1" { (main) }
                footer {
                    @if *age > 0 { span id="replica" { (say!(language, "shell.replica", age = format!("{age} s"))) } }
                    a href="/docs" { (t("shell.api")) }
                    a href="/metrics" { (t("shell.metrics")) }
                    button class="quiet" data-do="help" { (t("keys.title")) " " kbd { "?" } }
                }
            }
        }
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Operator => "operator",
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
    }
}

fn header(language: Language, at: Option<&Address>, caller: Option<&Caller>) -> Markup {
    let t = |key: &str| say!(language, key);
    // A page of one thing belongs to the list that it is in.
    let of_list = |path: &str| {
        at.is_some_and(|at| {
            DETAILS.iter().any(|(page, begin, _)| *page == at.page && begin.trim_end_matches('/') == path)
        })
    };
    let current = |path: &str| match at {
        Some(at) if at.path == path => Some("page"),
        Some(_) if of_list(path) => Some("true"),
        _ => None,
    };
    html! {
        header {
            a class="name" href="/" { "Feebox" }
            @if caller.is_some() {
                nav aria-label=(t("shell.pages")) {
                    @for (_, path, name) in PAGES { a href=(path) aria-current=[current(path)] { (t(name)) } }
                }
                form role="search" aria-label=(t("shell.search")) action="/quotes" {
                    input id="search" type="search" name="customer_id" placeholder=(t("shell.search")) aria-label=(t("shell.search"));
                }
            }
            div class="choices" {
                select id="zone" aria-label=(t("shell.zone")) {
                    option value="local" { (t("zone.local")) }
                    option value="utc" { "UTC" }
                }
                select id="language" aria-label=(t("shell.language")) {
                    option value="en" lang="en" selected[language == Language::English] { "English" }
                    option value="ko" lang="ko" selected[language == Language::Korean] { "한국어" }
                }
                @if let Some(caller) = caller.filter(|caller| caller.submits_as().is_some()) {
                    span class="who" { (say!(language, &format!("role.{}", role(caller.role())), name = &*caller.name)) }
                    button class="quiet" data-do="log-out" { (t("session.log_out")) }
                }
            }
        }
    }
}

fn log_in(language: Language, why: Option<&str>) -> Markup {
    let t = |key: &str| say!(language, key);
    html! {
        form class="login" {
            h1 { (t("session.title")) }
            p { (t("session.text")) }
            p id="refused" role="alert" class="headline bad" hidden[why.is_none()] { (why.unwrap_or_default()) }
            label { (t("session.token")) input name="token" type="password" autocomplete="current-password" required; }
            p class="buttons" { button type="submit" class="main" { (t("session.log_in")) } }
        }
    }
}

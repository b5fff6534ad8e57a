//! What the dashboard says, in the reader's language. A message may have two forms, `{n} event|{n} events`: for one, and for others.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use axum::http::{HeaderMap, header};
use serde_json::Value;

/// What a reader may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Language {
    English,
    Korean,
}

/// A value within a message. Numbers are grouped; `n` decides the form.
pub(super) enum Said<'a> {
    Number(f64),
    Text(Cow<'a, str>),
}

/// `say!(language, "bulk.skipped", n = 3)`: the message with its values.
macro_rules! say {
    ($language:expr, $key:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $language.say($key, &[$((stringify!($name), $crate::http::dashboard::text::Said::from($value))),*])
    };
}
pub(super) use say;

/// Where the reader's choice is kept.
const COOKIE: &str = "feebox_language";
const SOURCES: [(Language, &str); 2] =
    [(Language::English, include_str!("language/en.toml")), (Language::Korean, include_str!("language/ko.toml"))];

static MESSAGES: LazyLock<HashMap<Language, BTreeMap<String, String>>> = LazyLock::new(|| {
    let read = |(language, source)| (language, toml::from_str(source).unwrap_or_default());
    SOURCES.into_iter().map(read).collect()
});

/// By language: a module that exports the messages, for the scripts.
pub(super) static MODULES: LazyLock<[(&str, String); 2]> = LazyLock::new(|| {
    [("language/en.js", Language::English), ("language/ko.js", Language::Korean)].map(|(file, language)| {
        let messages = serde_json::to_string_pretty(&MESSAGES[&language]).unwrap_or_default();
        (file, format!("export default {messages};\n"))
    })
});

impl Language {
    /// What the reader chose, or what the browser asks for.
    pub fn of(headers: &HeaderMap) -> Self {
        let texts = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            texts(header::COOKIE).flat_map(|cookies| cookies.split(';')).filter_map(|it| it.trim().split_once('='));
        let chosen = pairs.find(|(name, _)| *name == COOKIE).and_then(|(_, value)| Self::named(value));
        let mut asked = texts(header::ACCEPT_LANGUAGE).flat_map(|tags| tags.split(','));
        chosen.or_else(|| asked.find_map(|tag| Self::named(tag.trim().get(..2)?))).unwrap_or(Self::English)
    }

    fn named(name: &str) -> Option<Self> {
        [Self::English, Self::Korean].into_iter().find(|it| it.code().eq_ignore_ascii_case(name))
    }

    /// Its code (ISO 639-1).
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }

    /// Whether there is such a message.
    pub fn knows(self, key: &str) -> bool {
        MESSAGES[&self].contains_key(key)
    }

    /// The message `key` with its `values`; what is unknown stays as it is.
    pub fn say(self, key: &str, values: &[(&str, Said<'_>)]) -> String {
        let message = MESSAGES[&self].get(key).map_or(key, String::as_str);
        let is_one = values
            .iter()
            .any(|(name, value)| *name == "n" && matches!(value, Said::Number(n) if n.to_bits() == 1_f64.to_bits()));
        let form = match message.split_once('|') {
            Some((one, _)) if is_one => one,
            Some((_, others)) => others,
            None => message,
        };
        let (mut said, mut rest) = (String::with_capacity(form.len()), form);
        while let Some((before, after)) = rest.split_once('{') {
            said.push_str(before);
            let Some((name, after)) = after.split_once('}') else { break };
            match values.iter().find(|(known, _)| *known == name) {
                Some((_, Said::Number(number))) => said.push_str(&super::format::number(*number)),
                Some((_, Said::Text(text))) => said.push_str(text),
                None => said.extend(["{", name, "}"]),
            }
            rest = after;
        }
        said + rest
    }
}

impl From<f64> for Said<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Said<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Said<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// A value of the API. What is missing is a dash.
impl<'a> From<&'a Value> for Said<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => Self::Text(text.into()),
            Value::Null => Self::Text("–".into()),
            other => Self::Text(other.to_string().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(pairs: &[(header::HeaderName, &'static str)]) -> Language {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).expect("a value");
        Language::of(&pairs.iter().map(|(name, text)| (name.clone(), value(text))).collect())
    }

    #[test]
    fn a_reader_gets_the_language_that_was_chosen_or_that_the_browser_asks_for() {
        assert_eq!(of(&[]), Language::English);
        assert_eq!(of(&[(header::ACCEPT_LANGUAGE, "de, ko-KR;q=0.9, en;q=0.8")]), Language::Korean);
        assert_eq!(of(&[(header::ACCEPT_LANGUAGE, "en-GB,ko")]), Language::English);
        let chosen = (header::COOKIE, "a=b; feebox_language=ko");
        assert_eq!(of(&[chosen, (header::ACCEPT_LANGUAGE, "en")]), Language::Korean);
        assert_eq!(of(&[(header::COOKIE, "feebox_language=xx"), (header::ACCEPT_LANGUAGE, "ko")]), Language::Korean);
        assert_eq!(of(&[(header::ACCEPT_LANGUAGE, "한국어")]), Language::English);
    }

    #[test]
    fn a_message_has_its_form_and_its_values() {
        let english = Language::English;
        assert_eq!(say!(english, "events.total", n = 1.0), "1 event matches.");
        assert_eq!(say!(english, "events.total", n = 5000.0), "5,000 events match.");
        assert_eq!(say!(english, "gave_up.time", b = "x"), "failing for longer than retry.give_up_after = {a}");
        assert_eq!(say!(english, "no.such.message"), "no.such.message");
        for (language, _) in SOURCES {
            assert!(MESSAGES[&language].len() > 200, "{language:?} is no TOML");
        }
    }
}

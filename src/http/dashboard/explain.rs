//! Sentences that the API composes in English, composed here from its facts in other languages. Times in them are those of the API.

use serde_json::Value;

use super::{
    format::{count, duration, instant, number, text},
    text::{Language, Said, say},
};

/// A sentence, and how good what it tells is: `bad`, `wait` or `good`.
pub(super) struct Headline {
    pub level: &'static str,
    pub sentence: String,
}

/// Why an event is not delivered yet.
pub(super) fn explanation(language: Language, it: &Value, is_due: bool) -> String {
    if language == Language::English {
        return text(&it["sentence"]).to_owned();
    }
    let mut said = sentences(language, it, is_due);
    if it["no_worker_alive"] == true {
        said.push(say!(language, "explain.no_worker"));
    }
    said.join(" ")
}

fn sentences(language: Language, it: &Value, is_due: bool) -> Vec<String> {
    let failure = &it["last_failure"];
    let failed = || {
        let outcome = say!(language, &format!("outcome.{}", text(&failure["outcome"])));
        say!(language, "explain.failed", attempt = &failure["attempt"], outcome = outcome, error = &failure["error"])
    };
    let failed = (!failure.is_null()).then(failed);
    match text(&it["status"]) {
        "delivered" => vec![say!(language, "explain.delivered", at = &it["settled_at"])],
        "cancelled" => vec![say!(language, "explain.cancelled", at = &it["settled_at"])],
        "dead" => {
            let at = if it["settled_at"].is_null() { &it["due_at"] } else { &it["settled_at"] };
            let why = failure["gave_up"].as_str().map(|why| gave_up(language, why));
            let revive = say!(language, "explain.revive");
            [Some(say!(language, "explain.dead", at = at)), failed, why, Some(revive)].into_iter().flatten().collect()
        }
        "leased" => leased(language, it),
        _ => pending(language, it, failed, is_due),
    }
}

fn leased(language: Language, it: &Value) -> Vec<String> {
    let lease = &it["lease"];
    if lease.is_null() {
        return vec![];
    }
    let key = if lease["run_out"] == true { "explain.lease_over" } else { "explain.leased" };
    let mut said = vec![say!(language, key, by = &lease["by"], attempt = &it["attempts"], until = &lease["until"])];
    if lease["withdrawn"] == true {
        said.push(say!(language, "explain.withdrawn"));
    }
    said
}

fn pending(language: Language, it: &Value, failed: Option<String>, is_due: bool) -> Vec<String> {
    let (mut said, name) = (Vec::new(), &it["destination"]);
    let [waits, paused, circuit, limits, queue] =
        ["waiting_for", "paused", "circuit", "limits", "queue"].map(|key| &it[key]);
    if !waits.is_null() {
        let status = say!(language, &format!("status.{}", text(&waits["status"])));
        said.push(say!(language, "explain.waits", id = &waits["event_id"], status = status));
    }
    if !paused.is_null() {
        let (by, since, reason) = (&paused["by"], &paused["since"], &paused["reason"]);
        said.push(say!(language, "explain.paused", name = name, by = by, since = since, reason = reason));
    }
    if !it["not_before"].is_null() {
        said.push(say!(language, "explain.held", name = name, until = &it["not_before"]));
    }
    if !circuit.is_null() {
        said.push(say!(
            language,
            "explain.circuit",
            name = name,
            since = &circuit["since"],
            reason = &circuit["reason"]
        ));
    }
    if !is_due && waits.is_null() {
        said.push(say!(language, "explain.later", at = &it["due_at"]));
        said.extend(failed);
    }
    if is_due && said.is_empty() {
        said.push(say!(language, "explain.due", since = &it["due_at"]));
    }
    if !limits.is_null() && is_due {
        let (per_second, in_flight) = (&limits["per_second"], &limits["in_flight"]);
        said.push(say!(language, "explain.limits", name = name, per_second = per_second, in_flight = in_flight));
    }
    if !queue.is_null() {
        let (before, partners, rate) = (&queue["before"], &queue["partners"], &queue["delivered_last_minute"]);
        said.push(say!(language, "explain.queue", before = before, partners = partners, rate = rate));
    }
    said
}

/// What the API writes, with a star for what varies, and the message that says the same: `a` is the first of them, `b` the last.
const WHY: [(&str, &str); 15] = [
    ("delivered", "status.delivered"),
    ("given up", "status.cancelled"),
    ("* left no result; it is taken back", "why.left"),
    ("* delivers it", "why.leased"),
    ("paused by *", "why.paused"),
    ("held until * (Retry-After)", "why.held"),
    ("the circuit is open", "why.circuit"),
    ("the circuit of * is open", "why.lane"),
    ("next attempt at *; *", "why.next"),
    ("waits for an earlier event of its quote", "why.waits"),
    ("due at *", "why.due_at"),
    ("due again; *", "why.again"),
    ("due for * s", "why.due_for"),
    ("attempt * was the last of retry.max_attempts = *; *", "why.last_attempt"),
    ("failing for longer than retry.give_up_after = *; *", "why.too_long"),
];
const GAVE_UP: [(&str, &str); 2] = [
    ("attempt * was the last of retry.max_attempts = *", "gave_up.attempts"),
    ("failing for longer than retry.give_up_after = *", "gave_up.time"),
];
const OUTCOMES: [&str; 5] = ["retry", "unknown", "refused", "broken", "unauthorised"];

/// Why an event was given up.
pub(super) fn gave_up(language: Language, why: &str) -> String {
    composed(language, &GAVE_UP, why).unwrap_or_else(|| why.to_owned())
}

/// The few words in a row. What the fee server wrote stays as it is.
pub(super) fn why(language: Language, text: &str) -> String {
    let outcome = || {
        let (outcome, error) = text.split_once(": ")?;
        OUTCOMES.contains(&outcome).then(|| format!("{}: {error}", say!(language, &format!("outcome.{outcome}"))))
    };
    composed(language, &WHY, text).or_else(outcome).unwrap_or_else(|| text.to_owned())
}

fn composed(language: Language, patterns: &[(&str, &str)], text: &str) -> Option<String> {
    if language == Language::English {
        return Some(text.to_owned());
    }
    let (key, found) = patterns.iter().find_map(|(pattern, key)| Some((key, varying(pattern, text)?)))?;
    let [a, b] = [found.first(), found.last()].map(|it| Said::from(it.copied().unwrap_or_default()));
    Some(language.say(key, &[("a", a), ("b", b)]))
}

/// What stands for the stars of `pattern` in `text`, if that fits.
fn varying<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = pattern.split('*');
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        let at = if is_last {
            rest.len().checked_sub(part.len()).filter(|_| rest.ends_with(part))?
        } else {
            rest.find(part)?
        };
        found.push(&rest[..at]);
        rest = &rest[at + part.len()..];
    }
    rest.is_empty().then_some(found)
}

/// How an installation is.
pub(super) fn headline(language: Language, stats: &Value) -> Headline {
    let destinations = stats["destinations"].as_array().map_or(&[][..], Vec::as_slice);
    let events = |it: &Value, name: &str| count(&it["events"][name]);
    let waiting: f64 = destinations.iter().map(|it| events(it, "pending") + events(it, "leased")).sum();
    let tell = |level, sentence: String| {
        let in_english = text(&stats["headline"]).to_owned();
        Headline { level, sentence: if language == Language::English { in_english } else { sentence } }
    };
    if count(&stats["workers_alive"]) == 0.0 && waiting > 0.0 {
        return tell("bad", say!(language, "headline.no_worker", n = waiting));
    }
    if let Some(it) = destinations.iter().find(|it| !it["paused"].is_null() || !it["circuit"].is_null()) {
        let (name, n) = (&it["name"], events(it, "pending"));
        return if it["paused"].is_null() {
            tell("bad", say!(language, "headline.circuit", name = name, n = n))
        } else {
            tell("wait", say!(language, "headline.paused", name = name, by = &it["paused"]["by"], n = n))
        };
    }
    let is_late = |it: &&Value| count(&it["oldest_due_seconds"]) >= 60.0 && events(it, "pending") > 0.0;
    if let Some(it) = destinations.iter().find(is_late) {
        let (oldest, rate) =
            (duration(count(&it["oldest_due_seconds"]) * 1000.0), number(count(&it["delivered_last_minute"])));
        let (name, n) = (&it["name"], events(it, "pending"));
        return tell("bad", say!(language, "headline.late", name = name, n = n, oldest = oldest, rate = rate));
    }
    match destinations.iter().find(|it| events(it, "dead") > 0.0) {
        Some(it) => tell("wait", say!(language, "headline.dead", n = events(it, "dead"), name = &it["name"])),
        None => tell("good", say!(language, "headline.good")),
    }
}

/// Whether the API says that an event is due at `now`.
pub(super) fn is_due(it: &Value, now: chrono::DateTime<chrono::Utc>) -> bool {
    instant(&it["due_at"]).is_none_or(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_few_words_in_a_row_are_said_in_the_readers_language() {
        let korean = |text| why(Language::Korean, text);
        assert_eq!(varying("attempt * was *; *", "attempt 3 was 5; a; b"), Some(vec!["3", "5", "a; b"]));
        assert_eq!(varying("due for * s", "due for 5 m"), None);
        assert_eq!(varying("delivered", "delivered twice"), None);
        assert_eq!(korean("delivered"), say!(Language::Korean, "status.delivered"));
        let next = korean("next attempt at 2026-11-26T10:00:00Z; 503 Service Unavailable");
        assert!(next.contains("2026-11-26T10:00:00Z") && next.ends_with("503 Service Unavailable"), "{next}");
        assert!(!next.contains("next attempt"), "{next}");
        assert_eq!(korean("refused: no"), format!("{}: no", say!(Language::Korean, "outcome.refused")));
        assert_eq!(korean("something: new"), "something: new");
        assert_eq!(why(Language::English, "due for 5 s"), "due for 5 s");
    }
}

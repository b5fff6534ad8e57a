//! The servers that a database's URL names.
//!
//! Several are written as libpq takes them: `postgres://user:password@a,b:5433/name?target_session_attrs=read-write`
//! (PostgreSQL's manual, "Specifying Multiple Hosts"), for `mysql://` too. A Unix socket is written as the drivers take
//! it: the directory as a host with `%2F`, or as the parameter `host`; for MariaDB the file as the parameter `socket`.

use secrecy::{ExposeSecret, SecretString};

/// The parameter that says which server is wanted.
const ATTRIBUTES: &str = "target_session_attrs";

/// Which of several servers is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The first that answers.
    Any,
    /// One that accepts writes.
    Writable,
    /// One that does not.
    ReadOnly,
    /// One that does not, if one answers.
    RatherReadOnly,
}

impl Wanted {
    /// Whether a server is wanted that refuses writes, or does not.
    pub fn fits(self, is_read_only: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Writable => !is_read_only,
            Self::ReadOnly | Self::RatherReadOnly => is_read_only,
        }
    }
}

/// The servers of a URL, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// A URL for each, without `target_session_attrs`.
    pub urls: Vec<SecretString>,
    pub wanted: Wanted,
}

impl Servers {
    /// Those of `url`. Of several that one is wanted which accepts writes, if the URL does not say otherwise.
    ///
    /// # Errors
    /// What is wrong with `target_session_attrs`; nothing of the URL is quoted.
    pub fn of(url: &SecretString) -> Result<Self, &'static str> {
        let url = url.expose_secret();
        let Parts { before, hosts, after } = parts(url);
        let (after, attributes) = without_attributes(after);
        let several = hosts.contains(',');
        let wanted = match attributes.as_deref() {
            None if several => Wanted::Writable,
            None | Some("any") => Wanted::Any,
            Some("read-write" | "primary") => Wanted::Writable,
            Some("read-only" | "standby") => Wanted::ReadOnly,
            Some("prefer-standby") => Wanted::RatherReadOnly,
            Some(_) => return Err("target_session_attrs is not one of libpq's"),
        };
        let urls = hosts.split(',').map(|host| format!("{before}{host}{after}").into()).collect();
        Ok(Self { urls, wanted })
    }
}

/// `url` with the hosts of `other`, which it was made of: the first of them stands in it.
pub(crate) fn with_all_hosts(shown: &str, of: &str) -> String {
    let all = parts(of).hosts;
    let Parts { before, after, .. } = parts(shown);
    format!("{before}{all}{after}")
}

/// A URL around its hosts.
struct Parts<'a> {
    before: &'a str,
    /// Separated by commas, each with its port, if it has one.
    hosts: &'a str,
    after: &'a str,
}

fn parts(url: &str) -> Parts<'_> {
    let Some(start) = url.find("://").map(|at| at + 3).filter(|_| !url.starts_with("sqlite:")) else {
        return Parts { before: url, hosts: "", after: "" };
    };
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    // A password may hold what separates hosts.
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    Parts { before: &url[..start], hosts: &url[start..end], after: &url[end..] }
}

/// What follows the hosts without the attributes, and these.
fn without_attributes(after: &str) -> (String, Option<String>) {
    let Some((path, query)) = after.split_once('?') else { return (after.to_owned(), None) };
    let is_attributes = |pair: &&str| pair.split('=').next() == Some(ATTRIBUTES);
    let (attributes, others): (Vec<_>, Vec<_>) = query.split('&').partition(is_attributes);
    let attributes = attributes.last().map(|pair| pair.split_once('=').map_or("", |(_, value)| value).to_owned());
    let others = others.join("&");
    (if others.is_empty() { path.to_owned() } else { format!("{path}?{others}") }, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> (Vec<String>, Wanted) {
        let servers = Servers::of(&url.into()).expect("servers");
        (servers.urls.iter().map(|url| url.expose_secret().to_owned()).collect(), servers.wanted)
    }

    #[test]
    fn each_host_of_a_url_is_a_server() {
        let (urls, wanted) = servers("postgres://ann:a,b%40c@one,two:5433,[::1]:5434/fees?sslmode=require");
        let expected = ["one", "two:5433", "[::1]:5434"];
        let expected = expected.map(|host| format!("postgres://ann:a,b%40c@{host}/fees?sslmode=require"));
        assert_eq!((urls, wanted), (expected.to_vec(), Wanted::Writable));
        let (urls, wanted) = servers("mysql://root@one:3306/fees?target_session_attrs=read-only");
        assert_eq!((urls, wanted), (vec!["mysql://root@one:3306/fees".to_owned()], Wanted::ReadOnly));
        for url in ["postgres:///fees?host=/run/postgresql", "sqlite://a,b.db?mode=rwc", "postgres://one"] {
            assert_eq!(servers(url), (vec![url.to_owned()], Wanted::Any));
        }
    }

    #[test]
    fn unknown_attributes_are_refused_without_quoting_them() {
        let refused = Servers::of(&"postgres://one,two/fees?target_session_attrs=secret".into());
        assert_eq!(refused.err(), Some("target_session_attrs is not one of libpq's"));
    }
}

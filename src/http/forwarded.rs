//! Requests that come by way of a proxy.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::settings::Network;

/// What proxies add to the requests that they forward.
const HEADERS: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Whether a proxy forwarded the request.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    HEADERS.iter().any(|name| headers.contains_key(*name))
}

/// Who called: `peer` or, if it is a trusted proxy, the client that the proxies name. Each proxy adds to the end of
/// `X-Forwarded-For`, so the last address that is no proxy is the client, whatever the client itself sent.
pub(super) fn client(peer: SocketAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.holds(address));
    let mut client = peer.ip().to_canonical();
    let lists = headers.get_all("x-forwarded-for").iter().rev();
    let mut named = lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(','));
    while is_proxy(client) {
        match named.next().and_then(|address| address.trim().parse::<IpAddr>().ok()) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, Sources};

    use super::*;

    #[test]
    fn only_the_word_of_a_trusted_proxy_is_taken() {
        let set = [("server.trusted_proxies", "['127.0.0.1', '10.0.0.0/8']")];
        let proxies = Settings::load(&Sources::overrides(set)).expect("settings").server.trusted_proxies;
        let called_by = |peer: &str, lists: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", list.parse().expect("a value"));
            }
            client(SocketAddr::new(peer.parse().expect("an address"), 1), &headers, &proxies).to_string()
        };
        assert_eq!(called_by("203.0.113.7", &["1.2.3.4"]), "203.0.113.7");
        assert_eq!(called_by("127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(called_by("::ffff:127.0.0.1", &["1.2.3.4, 203.0.113.7, 10.1.1.1"]), "203.0.113.7");
        assert_eq!(called_by("127.0.0.1", &["1.2.3.4", "203.0.113.7"]), "203.0.113.7");
        assert_eq!(called_by("127.0.0.1", &["1.2.3.4, nonsense"]), "127.0.0.1");
        assert_eq!(called_by("127.0.0.1", &[]), "127.0.0.1");
    }
}

//! `server.trusted_proxies`: whose word about the client's address is taken.

use std::{fmt, net::IpAddr};

use toml::Value;

use super::fields::{Fields, Invalid};
use super::typed::{as_text, wrong_type};

/// An address, or all of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many leading bits name the network.
    prefix: u32,
}

const ADVICE: &str = "write IP addresses or networks, such as [\"127.0.0.1\", \"10.0.0.0/8\"]";

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether it holds `address`; IPv4 in IPv6 is IPv4.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

pub(super) fn read(fields: &mut Fields) -> Vec<Network> {
    fields.read("server.trusted_proxies", |value| {
        let list = value.as_array().ok_or_else(|| wrong_type(value, ADVICE))?;
        list.iter().map(parse).collect()
    })
}

fn parse(value: &Value) -> Result<Network, Invalid> {
    let text = as_text(value)?;
    Network::parse(text).ok_or_else(|| (format!("{text:?} is neither an address nor a network"), ADVICE.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            let network = Network::parse(network).expect(network);
            assert!(network.holds(inside.parse().expect("an address")), "{network} {inside}");
            assert!(!network.holds(outside.parse().expect("an address")), "{network} {outside}");
        }
        assert!(Network::parse("0.0.0.0/0").is_some_and(|all| all.holds([8, 8, 8, 8].into())));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "proxy", "::1/129", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}

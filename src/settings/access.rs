//! `server.*` and `access.*`: where the HTTP API listens, and who may call it.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use toml::{Table, Value};

use super::fields::{Fields, Invalid};
use super::proxies::{self, Network};
use super::secret::MASK;
use super::typed::{as_text, wrong_type};

/// SHA-256 of the empty string: what `sha256sum` prints if the token's variable was unset.
const SHA256_OF_EMPTY: &[u8; 32] = b"\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24\
    \x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55";

/// Where the HTTP API listens, and how it stops.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address of `feebox serve`. Other addresses than loopback require tokens.
    pub bind: SocketAddr,
    /// How long it serves those who still come after it was told to stop.
    pub drain: Duration,
    /// Where it serves health and metrics; without it, metrics are at `bind`, too.
    pub metrics_bind: Option<SocketAddr>,
    /// Whose `X-Forwarded-For` is taken for the client's address.
    pub trusted_proxies: Vec<Network>,
}

/// Who may call the HTTP API.
#[derive(Clone, Debug)]
pub struct Access {
    /// The callers' tokens. If there are none, everybody on loopback is operator. Hashes are unique. Tokens of one name
    /// have one role: a new one replaces an old one without a gap.
    pub tokens: Vec<Token>,
}

/// A caller's token, of which only the hash is known.
#[derive(Clone)]
pub struct Token {
    /// The caller's name: 1 to 64 characters.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What the caller may do.
    pub role: Role,
    /// How much the owners of this name may do.
    pub limits: Limits,
}

/// How much the owners of a token name may do together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most requests a second in each process; a second's worth may come at once.
    pub requests_per_second: Option<NonZeroU32>,
    /// Most quotes that wait for their fee.
    pub pending_quotes: Option<NonZeroU32>,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Submit, read and cancel quotes; nothing else.
    Submitter,
    /// Read everything, quotes too; change nothing.
    Viewer,
    /// Everything.
    Operator,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hash, from which a weak token can be guessed.
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            bind: fields.address("server.bind"),
            drain: fields.duration("server.drain", ["0s", "5m"]),
            metrics_bind: fields.optional_address("server.metrics_bind"),
            trusted_proxies: proxies::read(fields),
        }
    }
}

impl Access {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let key = "access.tokens";
        let mut tokens = fields.read(key, |value| {
            let list = value.as_array().ok_or_else(|| wrong_type(value, TOKEN_LIST))?;
            parse_tokens(list)
        });
        let of_all = Limits {
            requests_per_second: NonZeroU32::new(fields.count("access.requests_per_second", 0..=LIMIT_MAX)),
            pending_quotes: NonZeroU32::new(fields.count("access.pending_quotes", 0..=LIMIT_MAX)),
        };
        for token in tokens.iter_mut().filter(|token| token.role == Role::Submitter) {
            token.limits.requests_per_second = token.limits.requests_per_second.or(of_all.requests_per_second);
            token.limits.pending_quotes = token.limits.pending_quotes.or(of_all.pending_quotes);
        }
        let shown: Vec<Value> = tokens.iter().map(Token::masked).collect();
        fields.show(key, shown, fields.origin(key));
        Self { tokens }
    }
}

const TOKEN_LIST: &str =
    "a list of {name = \"…\", sha256 = \"64 hex digits\", role = \"submitter, viewer or operator\"}";
/// What a token may have, too.
const OPTIONAL: [&str; 2] = ["requests_per_second", "pending_quotes"];
const LIMIT_MAX: i64 = 1_000_000_000;

/// Parses all tokens, or reports every invalid one. The error contains no hash.
fn parse_tokens(list: &[Value]) -> Result<Vec<Token>, Invalid> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut problems = Vec::new();
    for (index, value) in list.iter().enumerate() {
        match Token::parse(value) {
            Ok(token) if tokens.iter().any(|it| it.name == token.name && it.role != token.role) => {
                problems.push(format!("[{index}] has the name of an earlier one and another role"));
            }
            Ok(token) if tokens.iter().any(|it| it.name == token.name && it.limits != token.limits) => {
                problems.push(format!("[{index}] has the name of an earlier one and other limits"));
            }
            Ok(token) if tokens.iter().any(|it| it.sha256 == token.sha256) => {
                problems.push(format!("[{index}] has the sha256 of an earlier one"));
            }
            Ok(token) => tokens.push(token),
            Err(why) => problems.push(format!("[{index}] {why}")),
        }
    }
    if problems.is_empty() { Ok(tokens) } else { Err((problems.join(", "), format!("write {TOKEN_LIST}"))) }
}

impl Token {
    fn parse(value: &Value) -> Result<Self, String> {
        let table = value.as_table().ok_or("is not a {name, sha256, role}")?;
        if let Some(unknown) = table
            .keys()
            .find(|key| !["name", "sha256", "role"].contains(&key.as_str()) && !OPTIONAL.contains(&key.as_str()))
        {
            return Err(format!("has the unknown key {unknown:?}"));
        }
        let text = |key: &str| {
            let value = table.get(key).ok_or(format!("has no {key}"))?;
            as_text(value).map_err(|(problem, _)| format!("{key} {problem}"))
        };
        let name = text("name")?;
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err("has a name that is not 1 to 64 printable characters".to_owned());
        }
        let sha256: [u8; 32] = HEXLOWER_PERMISSIVE
            .decode(text("sha256")?.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("has a sha256 that is not 64 hex digits")?;
        if &sha256 == SHA256_OF_EMPTY {
            return Err("has the sha256 of an empty token".to_owned());
        }
        let role = match text("role")? {
            "submitter" => Role::Submitter,
            "viewer" => Role::Viewer,
            "operator" => Role::Operator,
            other => return Err(format!("has the unknown role {other:?}")),
        };
        let limit = |key: &str| {
            let Some(value) = table.get(key) else { return Ok(None) };
            let number = value.as_integer().filter(|number| (1..=LIMIT_MAX).contains(number));
            let number = number.and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new);
            number.map(Some).ok_or_else(|| format!("has a {key} that is not 1 to {LIMIT_MAX}"))
        };
        let [requests_per_second, pending_quotes] = OPTIONAL.map(limit);
        let limits = Limits { requests_per_second: requests_per_second?, pending_quotes: pending_quotes? };
        Ok(Self { name: name.to_owned(), sha256, role, limits })
    }

    fn masked(&self) -> Value {
        let mut table = Table::new();
        table.insert("name".to_owned(), self.name.as_str().into());
        table.insert("sha256".to_owned(), MASK.into());
        table.insert("role".to_owned(), format!("{:?}", self.role).to_lowercase().into());
        let limits = [self.limits.requests_per_second, self.limits.pending_quotes];
        for (key, limit) in OPTIONAL.into_iter().zip(limits) {
            if let Some(limit) = limit {
                table.insert(key.to_owned(), i64::from(limit.get()).into());
            }
        }
        table.into()
    }
}

/// Without tokens everybody is operator, so only this machine may reach the API.
pub(super) fn refuse_unprotected_api(server: &Server, access: &Access, fields: &mut Fields) {
    let on_loopback = server.bind.ip().to_canonical().is_loopback();
    if fields.are_valid(&["server.bind", "access.tokens"]) && access.tokens.is_empty() && !on_loopback {
        fields.refuse(
            "server.bind",
            format!("{} is not a loopback address, and without access.tokens everybody is operator", server.bind),
            "configure access.tokens, or listen on 127.0.0.1 or [::1]",
        );
    }
}

//! `feebox openapi`

use crate::http;

pub(super) fn run() -> anyhow::Result<()> {
    say!("{}", http::openapi().to_pretty_json()?);
    Ok(())
}

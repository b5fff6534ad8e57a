//! Runs `feebox` as an operator.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Desk, Process};

impl Desk {
    /// Runs `feebox …` as ann; returns the exit code and the output.
    pub async fn feebox(&self, arguments: &str) -> (i32, String) {
        self.feebox_with(arguments, &[]).await
    }

    /// The same with more in its environment.
    pub async fn feebox_with(&self, arguments: &str, more: &[(&str, &str)]) -> (i32, String) {
        self.feebox_by(&arguments.split(' ').collect::<Vec<_>>(), more).await
    }

    /// The same with arguments that hold blanks.
    pub async fn feebox_by(&self, arguments: &[&str], more: &[(&str, &str)]) -> (i32, String) {
        let base_url = self.sample.base_url();
        let env = [
            ("DATABASE_URL", self.database.url()),
            ("FEEBOX__FEE_SERVER__BASE_URL", base_url.as_str()),
            ("USER", "ann"),
        ];
        let process = Process::start(arguments, &[&env[..], more].concat());
        let status = process.wait(Duration::from_secs(30)).await;
        (status.code().unwrap(), process.lines().join("\n"))
    }

    pub async fn feebox_json(&self, arguments: &str) -> Value {
        let (code, said) = self.feebox(arguments).await;
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&said).unwrap()
    }
}

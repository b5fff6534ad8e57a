use std::time::Duration;

/// An HTTP client for tests. It follows no redirects, and gives up after a minute.
pub fn http_client() -> reqwest::Client {
    // Fails where it is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}

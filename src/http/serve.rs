//! Listening, and stopping in good order.

use std::{future::IntoFuture, time::Duration};

use axum::{Router, serve::ListenerExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long open calls may take to end once the server stops: longer than any of them lasts while it drains.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// Serves `router` until `drain`; then takes no new calls and returns when the open ones have ended, after 15 s at the
/// latest.
pub async fn serve(listener: TcpListener, router: Router, drain: CancellationToken) {
    let listener = listener.tap_io(|stream| {
        // Small answers are not to wait for more. A failure would mean that the client is gone already.
        let _ = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(drain.clone().cancelled_owned());
    let too_late = async {
        drain.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        // It goes on after errors of the listener, so it has none to tell.
        _ = serving.into_future() => {}
        () = too_late => tracing::warn!(grace = ?STOP_GRACE, "some calls did not end in time and are left behind"),
    }
}

//! Allowances: how many requests the owners of a token name make a second, and how many of their quotes wait for their fee.
//!
//! Requests are counted by each process. Quotes are counted in the database, at most a second ago, with what this process
//! has accepted since: several processes together accept no more above the limit than they do within that second.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::sync::Mutex;

use super::problem::{Kind, Problem};
use crate::{
    settings::{Limits, Token},
    submission::Submission,
    telemetry::{Sampled, metrics},
};

/// Fields of draft-ietf-httpapi-ratelimit-headers-10: what is allowed, and what is left of it.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// A count is believed for so long.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// Who is refused lets the database be asked again after this time.
const COUNTED_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// When a quote may have got its fee.
const PENDING_RETRY_SECONDS: u32 = 1;

static REFUSALS: Sampled = Sampled::new();

/// The allowances of all names that have limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowances(Arc<HashMap<String, Arc<Allowance>>>);

/// What the owners of a name may do together.
#[derive(Debug)]
pub(super) struct Allowance {
    name: String,
    requests: Option<Requests>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Requests {
    per_second: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

#[derive(Debug)]
struct Pending {
    max: usize,
    counted: Mutex<Option<Counted>>,
}

/// How many quotes wait, as far as is known.
#[derive(Clone, Copy, Debug)]
struct Counted {
    quotes: usize,
    at: Instant,
}

impl Allowances {
    /// Those of these tokens.
    pub fn of(tokens: &[Token]) -> Self {
        let limited = tokens.iter().filter(|token| token.limits != Limits::default());
        Self(Arc::new(limited.map(|token| (token.name.clone(), Arc::new(Allowance::of(token)))).collect()))
    }

    /// The allowance of `name`, if it has limits.
    pub fn of_name(&self, name: &str) -> Option<Arc<Allowance>> {
        self.0.get(name).cloned()
    }
}

impl Allowance {
    fn of(token: &Token) -> Self {
        let requests = token.limits.requests_per_second.map(|per_second| {
            let limiter = RateLimiter::direct(Quota::per_second(per_second));
            Requests { per_second, limiter: limiter.with_middleware() }
        });
        let pending = token
            .limits
            .pending_quotes
            .map(|max| Pending { max: usize::try_from(max.get()).unwrap_or(usize::MAX), counted: Mutex::new(None) });
        Self { name: token.name.clone(), requests, pending }
    }

    /// Answers `request` by `next`, or refuses it; the answer tells what is left.
    pub async fn spend(&self, request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
        let Some(requests) = &self.requests else { return next(request).await };
        let (left, mut answer) = match requests.limiter.check() {
            Ok(state) => (state.remaining_burst_capacity(), next(request).await),
            Err(not_until) => {
                let wait = not_until.wait_time_from(requests.limiter.clock().now());
                (0, self.refuse_request(requests, wait).into_response())
            }
        };
        requests.tell(left, answer.headers_mut());
        answer
    }

    fn refuse_request(&self, requests: &Requests, wait: Duration) -> Problem {
        self.refused("too_many_requests");
        let detail = format!("token {:?} makes more than {} requests a second; retry", self.name, requests.per_second);
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Problem::new(Kind::TooManyRequests, detail).retry_after_seconds(seconds.max(1))
    }

    /// Lets `quotes` more wait for their fee, or refuses them.
    pub async fn admit(&self, submission: &Submission, quotes: usize) -> Result<(), Problem> {
        let Some(Pending { max, counted }) = &self.pending else { return Ok(()) };
        let mut counted = counted.lock().await;
        let is_known = counted.as_ref().is_some_and(|counted| {
            let is_room = counted.quotes + quotes <= *max;
            counted.at.elapsed() < if is_room { COUNTED_FOR } else { COUNTED_AGAIN_AFTER }
        });
        if !is_known {
            let at = Instant::now();
            *counted = Some(Counted { quotes: submission.waiting_of(&self.name, *max).await?, at });
        }
        let Some(known) = counted.as_mut() else { return Ok(()) };
        if known.quotes + quotes <= *max {
            // A submission that fails is counted until the next look.
            known.quotes += quotes;
            return Ok(());
        }
        self.refused("too_many_pending");
        let waiting = known.quotes;
        let detail = format!(
            "{waiting} quotes of token {:?} wait for their fee, and with these it would be more than {max}; nothing was \
             stored, retry",
            self.name
        );
        Err(Problem::new(Kind::TooManyPending, detail).retry_after_seconds(PENDING_RETRY_SECONDS))
    }

    fn refused(&self, why: &'static str) {
        metrics::submission_refused(why);
        if let Some(refused) = REFUSALS.count() {
            tracing::warn!(why, refused, token = self.name, "refused requests beyond the limits of their token");
        }
    }
}

impl Requests {
    fn tell(&self, left: u32, headers: &mut HeaderMap) {
        let per_second = self.per_second;
        let fields =
            [(POLICY, format!("\"requests\";q={per_second};w=1")), (LEFT, format!("\"requests\";r={left};t=1"))];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

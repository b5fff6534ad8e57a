//! Why an event is not delivered yet: what the claim would decide about it, in words and in facts.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use entity::outbox_event::{Column, Entity};
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    headline::LAG_SECONDS,
    queue_position::{self, QueuePosition},
};
use crate::{
    database::Database,
    fleet,
    outbox::{self, Event, EventStatus, Failure, FleetLimits, Lane, OpenCircuit, Pause, destination},
    quotes::lanes_of,
};

/// The reason in one or more sentences, and the facts behind it. A fact that is no reason here is left out: a paused
/// destination says nothing about an event that was delivered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// For people.
    pub sentence: String,
    /// Which event.
    pub event_id: Uuid,
    /// The quote that it is about.
    pub quote_id: Uuid,
    /// For example `quote.submitted`.
    pub event_type: String,
    /// Where it goes.
    pub destination: String,
    /// Where it stands.
    pub status: String,
    /// Attempts made since it was stored or last revived.
    pub attempts: i32,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// Not delivered before this time.
    pub due_at: DateTime<Utc>,
    /// When it became delivered, dead or cancelled.
    pub settled_at: Option<DateTime<Utc>>,
    /// How the last attempt failed, if one did.
    pub last_failure: Option<Failure>,
    /// The worker that delivers it, or had begun to.
    pub lease: Option<Lease>,
    /// The earlier event of the same quote that must be delivered first.
    pub waiting_for: Option<WaitingFor>,
    /// An operator paused its destination.
    pub paused: Option<Pause>,
    /// The destination asked not to be called before (`Retry-After`).
    pub not_before: Option<DateTime<Utc>>,
    /// Too many deliveries to its destination failed; or its topic at Kafka is missing, or may not be written.
    pub circuit: Option<OpenCircuit>,
    /// What operators allow the whole fleet at most, if they set a limit for its destination.
    pub limits: Option<FleetLimits>,
    #[serde(skip)]
    circuit_of: String,
    /// No process that delivers was seen in the last minute.
    pub no_worker_alive: bool,
    /// It has been due for more than a minute and nothing holds it back: deliveries do not keep up.
    pub queue: Option<QueuePosition>,
}

/// A worker's right to deliver the event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Lease {
    /// The worker.
    pub by: String,
    /// Until when.
    pub until: DateTime<Utc>,
    /// That time is over.
    pub run_out: bool,
    /// The event was given up meanwhile: no attempt follows this one.
    pub withdrawn: bool,
}

/// An event that is delivered first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WaitingFor {
    /// Which.
    pub event_id: Uuid,
    /// For example `quote.submitted`.
    pub event_type: String,
    /// Where it stands.
    pub status: String,
}

/// Explains event `id`, unless it was pruned.
///
/// # Errors
/// Any database error.
pub async fn explain(db: &Database, id: Uuid) -> Result<Option<Explanation>, DbErr> {
    let txn = db.snapshot().await?;
    let now = db.now(&*txn).await?;
    let Some(event) = outbox::get(&*txn, id).await? else {
        return Ok(None);
    };
    let mut explanation = Explanation::of(&event, now);
    if event.status == EventStatus::Pending {
        explanation.waiting_for = earlier_unfinished(&*txn, &event).await?.as_ref().map(WaitingFor::from);
        if let Some(destination) = destination(&*txn, &event.destination).await? {
            explanation.paused = destination.paused;
            explanation.not_before = destination.not_before.filter(|until| *until > now);
            explanation.circuit = destination.circuit;
            explanation.limits = Some(destination.limits).filter(|limits| !limits.is_none());
            explanation.circuit_of = destination.name;
        }
        let lane = Lane::of(lanes_of(&event.destination), &event.event_type);
        if let (None, Some(lane)) = (&explanation.circuit, lane) {
            explanation.circuit = destination(&*txn, &lane.name).await?.and_then(|lane| lane.circuit);
            explanation.circuit_of = lane.name.to_string();
        }
    }
    if event.status == EventStatus::Pending && explanation.is_only_queued(&event, now) {
        explanation.queue = Some(queue_position::position(&*txn, &event, now).await?);
    }
    let waits = matches!(event.status, EventStatus::Pending | EventStatus::Leased);
    explanation.no_worker_alive = waits && fleet::workers_alive(&*txn, now).await? == 0;
    explanation.sentence = match event.status {
        EventStatus::Delivered => format!("It was delivered at {}.", settled_at(&event)),
        EventStatus::Cancelled => format!("It was given up at {}.", settled_at(&event)),
        EventStatus::Dead => explanation.why_dead(&event),
        EventStatus::Leased => explanation.who_delivers(),
        EventStatus::Pending => explanation.what_holds_it_back(&event, now),
    };
    if explanation.no_worker_alive {
        explanation.sentence.push_str(" No worker is alive: nothing is delivered until one starts (`feebox worker`).");
    }
    Ok(Some(explanation))
}

async fn earlier_unfinished(db: &impl ConnectionTrait, event: &Event) -> Result<Option<Event>, DbErr> {
    Entity::find()
        .filter(Column::AggregateId.eq(event.aggregate_id))
        .filter(Column::Destination.eq(&event.destination))
        .filter(Column::Sequence.lt(event.sequence))
        .filter(Column::Status.is_in([EventStatus::Pending, EventStatus::Leased, EventStatus::Dead]))
        .order_by_asc(Column::Sequence)
        .one(db)
        .await
}

impl Explanation {
    fn of(event: &Event, now: DateTime<Utc>) -> Self {
        let lease = (event.status == EventStatus::Leased).then(|| {
            let until = event.leased_until.unwrap_or(event.due_at);
            let by = event.leased_by.clone().unwrap_or_else(|| "a worker".into());
            Lease { by, until, run_out: until < now, withdrawn: event.withdrawn }
        });
        Self {
            sentence: String::new(),
            event_id: event.id,
            quote_id: event.aggregate_id,
            event_type: event.event_type.clone(),
            destination: event.destination.clone(),
            status: event.status.to_value(),
            attempts: event.attempts,
            created_at: event.created_at,
            due_at: event.due_at,
            settled_at: event.settled_at,
            last_failure: Failure::all(event).pop(),
            lease,
            waiting_for: None,
            paused: None,
            not_before: None,
            circuit: None,
            limits: None,
            circuit_of: String::new(),
            no_worker_alive: false,
            queue: None,
        }
    }

    fn why_dead(&self, event: &Event) -> String {
        let since = settled_at(event);
        let Some(Failure { attempt, outcome, error, gave_up, .. }) = &self.last_failure else {
            return format!("It has been dead since {since}. A retry by an operator revives it.");
        };
        let why = match gave_up {
            Some(why) => format!("{why}; the last error was {error:?}"),
            None => format!("attempt {attempt} came to {outcome:?}: {error}"),
        };
        format!("It has been dead since {since}: {why}. A retry by an operator revives it.")
    }

    fn who_delivers(&self) -> String {
        let Some(Lease { by, until, run_out, withdrawn }) = &self.lease else { return String::new() };
        let (until, attempt) = (time(*until), self.attempts);
        let mut sentence = if *run_out {
            format!(
                "{by} began attempt {attempt} and left no result before its lease ran out at {until}. The next run of \
                 any worker takes the event back. What came of it is unknown: a destination that can be asked is asked \
                 before the event is sent again."
            )
        } else {
            format!("{by} is delivering it, attempt {attempt}; its lease ends at {until}.")
        };
        if *withdrawn {
            sentence.push_str(" It was given up meanwhile: no attempt follows this one.");
        }
        sentence
    }

    /// Nothing but the queue keeps it from being delivered: it has been due for long.
    fn is_only_queued(&self, event: &Event, now: DateTime<Utc>) -> bool {
        let free = self.waiting_for.is_none() && self.paused.is_none() && self.not_before.is_none();
        let due_for = (now - event.due_at).as_seconds_f64();
        free && self.circuit.is_none() && due_for >= LAG_SECONDS
    }

    fn what_holds_it_back(&self, event: &Event, now: DateTime<Utc>) -> String {
        let mut sentences = Vec::new();
        let destination = &self.destination;
        if let Some(WaitingFor { event_id, event_type, status }) = &self.waiting_for {
            sentences.push(format!(
                "It waits for event {event_id} ({event_type}, {status}) of the same quote, which must be delivered or \
                 given up first."
            ));
        }
        if let Some(Pause { by, since, reason }) = &self.paused {
            let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            sentences.push(format!("{destination} has been paused by {by} since {}{reason}.", time(*since)));
        }
        if let Some(until) = self.not_before {
            sentences.push(format!("{destination} asked not to be called before {} (Retry-After).", time(until)));
        }
        if let Some(OpenCircuit { since, reason, next_probe_at }) = &self.circuit {
            let mut sentence = format!("The circuit of {} has been open since {}", self.circuit_of, time(*since));
            if let Some(reason) = reason {
                let _ = write!(sentence, " because of {reason:?}");
            }
            let probe =
                next_probe_at.filter(|at| *at > now).map_or_else(|| "now".into(), |at| format!("at {}", time(at)));
            let _ = write!(sentence, "; one event may go out {probe} as a probe.");
            sentences.push(sentence);
        }
        if event.due_at > now {
            // Behind an earlier event it is parked, and due when that one ends.
            if self.waiting_for.is_none() {
                sentences.push(self.why_later(event));
            }
        } else if sentences.is_empty() {
            sentences.push(format!("It has been due since {}; the next run of a worker takes it.", time(event.due_at)));
        }
        if let Some(limits) = self.limits.filter(|_| event.due_at <= now).and_then(|limits| limits.in_words()) {
            sentences.push(format!("{destination} has the fleet's limit of {limits}, set by an operator."));
        }
        sentences.extend(self.queue.as_ref().map(QueuePosition::sentence));
        sentences.join(" ")
    }

    fn why_later(&self, event: &Event) -> String {
        let due_at = time(event.due_at);
        match &self.last_failure {
            Some(failure) if failure.at >= event.live_since => {
                let Failure { attempt, outcome, error, at, .. } = failure;
                format!("It is due at {due_at}: attempt {attempt} came to {outcome:?} at {}: {error}.", time(*at))
            }
            _ if event.live_since > event.created_at => {
                format!("It is due at {due_at}, as an operator's retry at {} paced it.", time(event.live_since))
            }
            _ => format!("It is due at {due_at}."),
        }
    }
}

impl From<&Event> for WaitingFor {
    fn from(event: &Event) -> Self {
        Self { event_id: event.id, event_type: event.event_type.clone(), status: event.status.to_value() }
    }
}

fn settled_at(event: &Event) -> String {
    time(event.settled_at.unwrap_or(event.due_at))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

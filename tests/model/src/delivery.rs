//! The model: what is fixed, and how `stateright` asks it.

use stateright::{Model, Property};

use crate::{Action, Circuit, Guard, Quote, State, Worker, promises};

/// The protocol between two or more workers, a database and a fee server.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// How many quotes may be submitted.
    pub quotes: usize,
    /// How many worker processes there are.
    pub workers: usize,
    /// How much may go wrong, all in all.
    pub misfortunes: u8,
    /// `retry.max_attempts`.
    pub max_attempts: u8,
    /// `circuit.failures`.
    pub circuit_failures: u8,
    /// Clients and operators cancel quotes.
    pub may_cancel: bool,
    /// The fee server makes one fee for a key, however often it gets it.
    pub honours_keys: bool,
    /// How it answers look-ups.
    pub look_ups: LookUps,
    /// It may still work on a request when the worker has hung up.
    pub may_be_late: bool,
    /// The rule that is taken out.
    pub without: Option<Guard>,
}

/// How the fee server answers look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUps {
    /// With a list, as it has done before: the fleet knows that it has look-ups.
    List,
    /// With 404: it has none.
    None,
}

impl Delivery {
    /// A quote, two workers, and a fee server as the contract wants it, at its worst: it may be late.
    pub const BASE: Self = Self {
        quotes: 1,
        workers: 2,
        misfortunes: 2,
        max_attempts: 2,
        circuit_failures: 2,
        may_cancel: true,
        honours_keys: true,
        look_ups: LookUps::List,
        may_be_late: true,
        without: None,
    };
}

impl Default for Delivery {
    fn default() -> Self {
        Self::BASE
    }
}

impl Delivery {
    /// Whether the rule holds.
    #[must_use]
    pub fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    /// The one of several states that differ only in the numbers of workers and quotes.
    #[must_use]
    pub fn representative(state: &State) -> State {
        let sorted = |mut state: State| {
            state.workers.sort_unstable();
            state
        };
        if state.quotes.len() != 2 {
            return sorted(state.clone());
        }
        let mut swapped = state.clone();
        swapped.quotes.swap(0, 1);
        let swap = |id: Option<(usize, usize)>| id.map(|(quote, event)| (1 - quote, event));
        for worker in &mut swapped.workers {
            if let Worker::Busy(leased) = worker {
                leased.quote = 1 - leased.quote;
            }
        }
        swapped.circuit = match swapped.circuit {
            Circuit::Closed(failures, last) => Circuit::Closed(failures, swap(last)),
            Circuit::Open { probe, failures, last } => Circuit::Open { probe: swap(probe), failures, last: swap(last) },
        };
        sorted(state.clone()).min(sorted(swapped))
    }
}

impl Model for Delivery {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            quotes: vec![Quote::default(); self.quotes],
            workers: vec![Worker::Idle; self.workers],
            circuit: Circuit::Closed(0, None),
            held: false,
            misfortunes: self.misfortunes,
            broken: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.progress(state, actions);
        self.chance(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}

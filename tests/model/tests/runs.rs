//! What the properties rely on: each run comes to rest, and the model reaches what the code knows.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use delivery_model::{Circuit, Delivery, Outcome, QuoteStatus, State, Status, Step, Worker};
use stateright::Model;

#[test]
fn no_schedule_goes_in_circles() {
    for model in [Delivery::default(), Delivery { quotes: 2, misfortunes: 1, ..Delivery::default() }] {
        let mut walk = Walk { model, seen: HashMap::new() };
        walk.all();
        assert!(walk.seen.len() > 1_000, "{}", walk.seen.len());
    }
}

#[test]
fn each_status_and_outcome_is_reached() {
    let model = Delivery { circuit_failures: 1, ..Delivery::default() };
    let mut walk = Walk { model, seen: HashMap::new() };
    walk.all();
    let mut reached = BTreeSet::new();
    for state in walk.seen.keys() {
        reached.extend(state.quotes.iter().map(|quote| format!("{:?}", quote.status)));
        reached.extend(state.ids().map(|id| format!("{:?}", state.event(id).status)));
        for worker in &state.workers {
            if let Worker::Busy(leased) = worker {
                reached.insert(format!("{:?}", leased.step));
            }
        }
        if matches!(state.circuit, Circuit::Open { probe: Some(_), .. }) {
            reached.insert("probe".into());
        }
    }
    let quotes = [QuoteStatus::Pending, QuoteStatus::Confirmed, QuoteStatus::Rejected, QuoteStatus::RolledBack];
    let events = [Status::Leased, Status::Delivered, Status::Dead, Status::Cancelled];
    let outcomes = [
        Outcome::Delivered(Some(0)),
        Outcome::Delivered(None),
        Outcome::Retry,
        Outcome::RetryAfter,
        Outcome::Unknown,
        Outcome::Misdirected,
        Outcome::Refused,
        Outcome::NotSent,
    ];
    let wanted = quotes.map(|it| format!("{it:?}")).into_iter().chain(events.map(|it| format!("{it:?}")));
    let wanted = wanted.chain(outcomes.map(|it| format!("{:?}", Step::Ended(it)))).chain(["probe".into()]);
    let missing: Vec<_> = wanted.filter(|it| !reached.contains(it)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}

/// The names in the documentation of actions and guards are those of the code.
#[test]
fn the_functions_that_the_model_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut code = String::new();
    read(&root.join("src"), &mut code);
    read(&root.join("entity"), &mut code);
    let (mut named, mut missing) = (0, vec![]);
    for file in ["action.rs", "guard.rs", "settling.rs", "state.rs", "enabled.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file))
            .expect("a file of the model");
        let docs = text.lines().filter_map(|line| line.trim().split_once("///").or(line.trim().split_once("//!")));
        for reference in docs
            .flat_map(|(_, doc)| doc.split('`').skip(1).step_by(2))
            .filter(|it| it.contains("::") && !it.starts_with("Guard::"))
        {
            let name = reference.rsplit("::").next().unwrap_or_default();
            named += 1;
            let is_there = ["fn ", "enum ", "struct ", "mod "].iter().any(|kind| {
                code.contains(&format!("{kind}{name}("))
                    || code.contains(&format!("{kind}{name} "))
                    || code.contains(&format!("{kind}{name}<"))
                    || code.contains(&format!("{kind}{name};"))
            });
            if !is_there {
                missing.push(format!("{file}: {reference}"));
            }
        }
    }
    assert!(named > 20, "only {named} are named");
    assert!(missing.is_empty(), "not in the code: {missing:#?}");
}

fn read(folder: &Path, code: &mut String) {
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            read(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).expect("a source file"));
        }
    }
}

/// A walk over all states, depth first.
struct Walk {
    model: Delivery,
    /// Whether the walk is still below the state.
    seen: HashMap<State, bool>,
}

impl Walk {
    fn all(&mut self) {
        for state in self.model.init_states() {
            let mut below = vec![self.enter(&state)];
            while let Some((state, next)) = below.last_mut() {
                let Some(following) = next.pop() else {
                    self.seen.insert(state.clone(), false);
                    below.pop();
                    continue;
                };
                match self.seen.get(&following) {
                    Some(true) => panic!("a schedule comes back to {following:#?}"),
                    Some(false) => {}
                    None => below.push(self.enter(&following)),
                }
            }
        }
    }

    fn enter(&mut self, state: &State) -> (State, Vec<State>) {
        self.seen.insert(state.clone(), true);
        (state.clone(), self.model.next_states(state))
    }
}

//! Every edge of the diagram, against a script.

use std::cell::RefCell;
use std::collections::VecDeque;

use uuid::Uuid;

use super::*;
use crate::vmware::states::{PowerState, observation};
use crate::{ErrorKind, Guest};

/// What the script answers, in turn; the last state goes on.
struct Script {
    states: RefCell<VecDeque<Result<&'static str, Error>>>,
    answers: RefCell<VecDeque<Ordered>>,
    given: RefCell<Vec<Switch>>,
}

impl Script {
    fn new(states: &[&'static str], answers: Vec<Ordered>) -> Self {
        Self {
            states: RefCell::new(states.iter().map(|word| Ok(*word)).collect()),
            answers: RefCell::new(answers.into()),
            given: RefCell::default(),
        }
    }
}

impl Orders for Script {
    type Seen = &'static str;

    fn by(&self) -> &'static str {
        "script"
    }

    fn pause(&self, time: Duration, deadline: Deadline) {
        std::thread::sleep(time.min(deadline.remaining()));
    }

    fn look(&self, _guest: &GuestRef, _deadline: Deadline) -> Result<&'static str, Error> {
        let mut states = self.states.borrow_mut();
        match states.pop_front() {
            Some(only) if states.is_empty() => {
                states.push_front(only.clone());
                only
            }
            Some(state) => state,
            None => unreachable!("a script has a state"),
        }
    }

    /// A state that begins with `#` is another guest's.
    fn id<'a>(&self, seen: &'a &'static str) -> &'a str {
        if seen.starts_with('#') {
            "vm-2"
        } else {
            "vm-1"
        }
    }

    fn observation(&self, seen: &&'static str) -> Observation {
        let seen = seen.trim_start_matches('#');
        let guest = Guest {
            name: "vm1".to_owned(),
            uuid: Uuid::nil(),
        };
        let (word, doubt) = match seen.strip_prefix('?') {
            Some(word) => (word, Some("host lost")),
            None => (seen, None),
        };
        observation(guest, Some(&PowerState::parse(word)), doubt, None, "script")
    }

    fn order(
        &self,
        _seen: &&'static str,
        _guest: &GuestRef,
        to: Switch,
        _deadline: Deadline,
    ) -> Ordered {
        self.given.borrow_mut().push(to);
        self.answers
            .borrow_mut()
            .pop_front()
            .expect("no more orders than answers")
    }
}

const ON: &str = "poweredOn";
const OFF: &str = "poweredOff";
const SUSPENDED: &str = "suspended";

fn vm1() -> GuestRef {
    GuestRef::parse("vm1")
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(3))
}

fn refused() -> Error {
    Error::Refused {
        by: "script".to_owned(),
        guest: "vm1".to_owned(),
        detail: "no".to_owned(),
    }
}

#[test]
fn success_names_how_it_came_about() {
    let cases = [
        (&[OFF][..], vec![], Means::AlreadyOff, false),
        (&[ON, OFF], vec![Ordered::Done], Means::Destroyed, true),
        (&[ON, ON, OFF], vec![Ordered::Done], Means::Destroyed, true),
        (
            &[SUSPENDED, OFF],
            vec![Ordered::Done],
            Means::ImageDiscarded,
            false,
        ),
        (&[ON, OFF], vec![Ordered::Look], Means::WentOff, true),
        (&[ON, OFF], vec![Ordered::Lost], Means::WentOff, true),
        (
            &[ON, ON, OFF],
            vec![Ordered::Busy("snapshot".to_owned()), Ordered::Done],
            Means::Destroyed,
            true,
        ),
        (
            &[ON, ON, OFF],
            vec![Ordered::Lost, Ordered::Done],
            Means::Destroyed,
            true,
        ),
    ];
    for (states, answers, means, was_active) in cases {
        let script = Script::new(states, answers);
        let off = script
            .cut(&vm1(), soon())
            .unwrap_or_else(|error| panic!("{states:?}: {error}"));
        assert_eq!(
            (off.evidence.means, off.was_active),
            (means, was_active),
            "{states:?}"
        );
        assert_eq!(off.evidence.observation.power(), Power::Off);
        assert!(
            script.answers.borrow().is_empty(),
            "{states:?}: every order was given"
        );
    }
}

#[test]
fn what_is_not_known_is_left_alone_and_not_off() {
    for states in [["?poweredOff"], ["?poweredOn"], ["?suspended"], ["standby"]] {
        let script = Script::new(&states, vec![]);
        let error = script.cut(&vm1(), soon()).expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::CannotKnow, "{states:?}: {error}");
        assert!(script.given.borrow().is_empty());
        let error = script.boot(&vm1(), soon()).expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::CannotKnow, "{states:?}: {error}");
    }
}

#[test]
fn a_no_is_a_no_unless_an_order_may_have_arrived() {
    let script = Script::new(&[ON], vec![Ordered::No(refused())]);
    assert_eq!(
        script.cut(&vm1(), soon()).expect_err("no").kind(),
        ErrorKind::Refused
    );
    let script = Script::new(&[ON], vec![Ordered::Lost, Ordered::No(refused())]);
    assert_eq!(
        script.cut(&vm1(), soon()).expect_err("no").kind(),
        ErrorKind::CannotKnow
    );
    let script = Script::new(&[ON], vec![Ordered::Unknown(refused())]);
    assert_eq!(
        script.cut(&vm1(), soon()).expect_err("no").kind(),
        ErrorKind::CannotKnow
    );
    let script = Script::new(&[ON, ON], vec![Ordered::Lost]);
    *script.states.borrow_mut() = [
        Ok(ON),
        Err(Error::Unreachable {
            by: String::new(),
            detail: String::new(),
        }),
    ]
    .into();
    assert_eq!(
        script.cut(&vm1(), soon()).expect_err("gone").kind(),
        ErrorKind::CannotKnow
    );
}

#[test]
fn an_order_that_was_carried_out_and_changed_nothing_is_not_confirmed() {
    let script = Script::new(&[ON], vec![Ordered::Done]);
    let begun = Instant::now();
    let error = script
        .cut(&vm1(), Deadline::after(Duration::from_millis(700)))
        .expect_err("it is on");
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(script.given.borrow().len(), 1, "it is not ordered again");
}

#[test]
fn nothing_is_ordered_after_the_deadline_and_busy_ends_at_it() {
    let script = Script::new(&[ON], vec![]);
    let error = script
        .cut(&vm1(), Deadline::after(Duration::ZERO))
        .expect_err("late");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let busy = || Ordered::Busy("vMotion".to_owned());
    let script = Script::new(&[ON], vec![busy(), busy(), busy(), busy()]);
    let error = script
        .cut(&vm1(), Deadline::after(Duration::from_millis(1200)))
        .expect_err("busy");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("vMotion"), "{error}");
}

#[test]
fn a_suspended_guest_is_booted_afresh() {
    let script = Script::new(
        &[SUSPENDED, SUSPENDED, OFF, OFF, ON],
        vec![Ordered::Done, Ordered::Done],
    );
    let on = script.boot(&vm1(), soon()).expect("it boots");
    assert_eq!(on.means, Means::Started);
    assert_eq!(*script.given.borrow(), [Switch::Off, Switch::On]);
    let script = Script::new(&[ON], vec![]);
    assert_eq!(
        script.boot(&vm1(), soon()).expect("it is on").means,
        Means::AlreadyOn
    );
}

#[test]
fn a_guest_that_is_suspended_between_two_orders_does_not_go_on() {
    let script = Script::new(
        &[OFF, SUSPENDED, SUSPENDED, OFF, OFF, ON],
        vec![
            Ordered::Busy("going back to a snapshot".to_owned()),
            Ordered::Done,
            Ordered::Done,
        ],
    );
    script.boot(&vm1(), soon()).expect("it boots");
    assert_eq!(
        *script.given.borrow(),
        [Switch::On, Switch::Off, Switch::On]
    );
}

#[test]
fn another_guest_of_the_name_proves_nothing() {
    for answers in [
        vec![Ordered::Lost],
        vec![Ordered::Look],
        vec![Ordered::Done],
    ] {
        let script = Script::new(&[ON, "#poweredOff"], answers);
        let error = script
            .cut(&vm1(), soon())
            .expect_err("who is off is another");
        assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    }
}

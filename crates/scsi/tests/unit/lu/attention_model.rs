//! Unit attentions against a model of their own: what happened since a nexus last asked, kept as a history and worked out
//! when it asks. Reservations are Write Exclusive, registrants only, as `fence_scsi` makes them.

use proptest::prelude::*;
use scsi::pr::{OutAction, ReservationType};
use scsi::{AdditionalSense as A, Sense, SenseKey};

use super::common::{Disk, Ended, TEST_UNIT_READY, WRITE};
use crate::pr::common::RequestBuilder;

const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone, Copy)]
enum Event {
    Login(usize),
    Logout(usize),
    Reset,
    Resize,
    LunsChanged,
    Cleared(usize),
    Register(usize),
    Unregister(usize),
    Reserve(usize),
    Release(usize),
    Clear(usize),
    Preempt(usize, usize, bool),
    Inquiry(usize),
    RequestSense(usize),
    TestUnitReady(usize),
    Write(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let who = || 0..NAMES.len();
    prop_oneof![
        2 => who().prop_map(Event::Login),
        1 => who().prop_map(Event::Logout),
        1 => Just(Event::Reset),
        1 => Just(Event::Resize),
        1 => Just(Event::LunsChanged),
        1 => who().prop_map(Event::Cleared),
        4 => who().prop_map(Event::Register),
        1 => who().prop_map(Event::Unregister),
        3 => who().prop_map(Event::Reserve),
        1 => who().prop_map(Event::Release),
        1 => who().prop_map(Event::Clear),
        3 => (who(), who(), any::<bool>()).prop_map(|(by, victim, abort)| Event::Preempt(by, victim, abort)),
        1 => who().prop_map(Event::Inquiry),
        1 => who().prop_map(Event::RequestSense),
        3 => who().prop_map(Event::TestUnitReady),
        3 => who().prop_map(Event::Write),
    ]
}

/// One nexus: everything that it has not been told.
#[derive(Debug, Clone, Default)]
struct History {
    attached: bool,
    been_here: bool,
    untold: Vec<u16>,
}

impl History {
    /// Which of the codes that wait comes next: of 29h the smallest, and with it all of 29h are told; else the oldest.
    fn next(&self) -> Option<u16> {
        let resets = self.untold.iter().filter(|code| **code >> 8 == 0x29);
        resets.min().or_else(|| self.untold.first()).copied()
    }

    fn tell(&mut self) -> Option<u16> {
        let next = self.next()?;
        let reset = next >> 8 == 0x29;
        self.untold
            .retain(|code| *code != next && !(reset && code >> 8 == 0x29));
        Some(next)
    }
}

#[derive(Debug, Default)]
struct Model {
    nexuses: [History; 4],
    registered: [bool; 4],
    holder: Option<usize>,
}

impl Model {
    fn tell_others(&mut self, by: usize, code: u16) {
        for other in (0..NAMES.len()).filter(|other| *other != by) {
            if self.registered[other] {
                self.nexuses[other].untold.push(code);
            }
        }
    }

    fn conflicts(&self, who: usize) -> bool {
        self.holder.is_some() && !self.registered[who]
    }

    /// What a command of `who` ends with before anything else is looked at.
    fn before(&mut self, who: usize, may_conflict: bool) -> Option<Answer> {
        let next = self.nexuses[who].next();
        let reset = next.is_some_and(|code| code >> 8 == 0x29);
        if !reset && may_conflict && self.conflicts(who) {
            return Some(Answer::Conflict);
        }
        self.nexuses[who].tell().map(Answer::Attention)
    }

    /// A PERSISTENT RESERVE OUT, after unit attentions.
    fn reserve_out(&mut self, event: Event) -> Answer {
        match event {
            Event::Register(who) => self.registered[who] = true,
            Event::Unregister(who) => {
                self.registered[who] = false;
                if self.holder == Some(who) {
                    self.holder = None;
                    self.tell_others(who, 0x2A04);
                }
            }
            Event::Reserve(who) => {
                if !self.registered[who] || self.holder.is_some_and(|holder| holder != who) {
                    return Answer::Conflict;
                }
                self.holder = Some(who);
            }
            Event::Release(who) => {
                if !self.registered[who] {
                    return Answer::Conflict;
                }
                if self.holder == Some(who) {
                    self.holder = None;
                    self.tell_others(who, 0x2A04);
                }
            }
            Event::Clear(who) => {
                if !self.registered[who] {
                    return Answer::Conflict;
                }
                self.tell_others(who, 0x2A03);
                self.registered = [false; 4];
                self.holder = None;
            }
            Event::Preempt(by, victim, _) => return self.preempt(by, victim),
            _ => unreachable!("not one of these"),
        }
        Answer::Good
    }

    fn preempt(&mut self, by: usize, victim: usize) -> Answer {
        if !self.registered[by] || !self.registered[victim] {
            return Answer::Conflict;
        }
        // Everybody has a key of its own, so one victim at most.
        if self.holder == Some(victim) {
            self.holder = Some(by);
            self.registered[victim] = victim == by;
        } else {
            self.registered[victim] = false;
        }
        if victim != by {
            self.nexuses[victim].untold.push(0x2A05);
        }
        if !self.registered.contains(&true) {
            self.holder = None;
        }
        Answer::Good
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Good,
    Conflict,
    Attention(u16),
}

impl From<Ended> for Answer {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Good => Self::Good,
            Ended::Conflict => Self::Conflict,
            Ended::Sense(SenseKey::UNIT_ATTENTION, A(code)) => Self::Attention(code),
            other => panic!("{other:?}"),
        }
    }
}

fn key(who: usize) -> u64 {
    u64::try_from(who).unwrap() + 1
}

/// The command that an event sends, if it is a PERSISTENT RESERVE OUT.
fn request(event: Event) -> Option<(usize, RequestBuilder)> {
    let of = RequestBuilder::new;
    Some(match event {
        Event::Register(who) => (
            who,
            of(OutAction::RegisterAndIgnoreExistingKey, 0, key(who)),
        ),
        Event::Unregister(who) => (who, of(OutAction::RegisterAndIgnoreExistingKey, 0, 0)),
        Event::Reserve(who) => (who, of(OutAction::Reserve, key(who), 0).kind(WERO)),
        Event::Release(who) => (who, of(OutAction::Release, key(who), 0).kind(WERO)),
        Event::Clear(who) => (who, of(OutAction::Clear, key(who), 0)),
        Event::Preempt(by, victim, abort) => {
            let action = if abort {
                OutAction::PreemptAndAbort
            } else {
                OutAction::Preempt
            };
            (by, of(action, key(by), key(victim)).kind(WERO))
        }
        _ => return None,
    })
}

/// What both say to an event that brings a command.
fn compare(model: &mut Model, disk: &mut Disk, event: Event) -> Option<(Answer, Answer)> {
    if let Some((who, request)) = request(event) {
        let expected = match model.before(who, false) {
            Some(answer) => answer,
            None => model.reserve_out(event),
        };
        return Some((expected, disk.out(NAMES[who], &request).into()));
    }
    let (who, expected, got) = match event {
        Event::Inquiry(who) => (
            who,
            Answer::Good,
            disk.end(NAMES[who], &[0x12, 0, 0, 0, 36, 0]),
        ),
        Event::TestUnitReady(who) => {
            let expected = model.before(who, false).unwrap_or(Answer::Good);
            (who, expected, disk.end(NAMES[who], &TEST_UNIT_READY))
        }
        Event::Write(who) => {
            let expected = model.before(who, true).unwrap_or(Answer::Good);
            (who, expected, disk.end(NAMES[who], &WRITE))
        }
        Event::RequestSense(who) => {
            let expected = model.nexuses[who]
                .tell()
                .map_or(Answer::Good, Answer::Attention);
            let data = disk.reply(NAMES[who], &[0x03, 0, 0, 0, 18, 0]).data;
            let sense = Sense::parse(&data).unwrap();
            let got = if sense.key == SenseKey::NO_SENSE {
                Ended::Good
            } else {
                Ended::Sense(sense.key, sense.additional)
            };
            (who, expected, got)
        }
        _ => return None,
    };
    assert!(model.nexuses[who].attached);
    Some((expected, got.into()))
}

fn happens(model: &mut Model, disk: &mut Disk, event: Event) {
    match event {
        Event::Login(who) => {
            disk.attach(NAMES[who]);
            let history = &mut model.nexuses[who];
            let code = if history.been_here { 0x2907 } else { 0x2900 };
            history.untold.push(code);
            (history.attached, history.been_here) = (true, true);
        }
        Event::Logout(who) => {
            disk.lose(NAMES[who]);
            model.nexuses[who].attached = false;
        }
        Event::Cleared(who) => {
            disk.unit.commands_cleared(disk.id(NAMES[who]));
            model.nexuses[who].untold.push(0x2F00);
        }
        Event::Reset | Event::Resize | Event::LunsChanged => {
            let code = match event {
                Event::Reset => 0x2903,
                Event::Resize => 0x2A09,
                _ => 0x3F0E,
            };
            match event {
                Event::Reset => disk.unit.reset(),
                Event::Resize => disk.unit.resize(500),
                _ => disk.unit.luns_changed(),
            }
            for history in model.nexuses.iter_mut().filter(|history| history.been_here) {
                history.untold.push(code);
            }
        }
        _ => unreachable!("not one of these"),
    }
}

/// Whose event it is, if only an attached nexus can cause it.
const fn actor(event: Event) -> Option<usize> {
    match event {
        Event::Login(_) | Event::Reset | Event::Resize | Event::LunsChanged => None,
        Event::Logout(who)
        | Event::Cleared(who)
        | Event::Register(who)
        | Event::Unregister(who)
        | Event::Reserve(who)
        | Event::Release(who)
        | Event::Clear(who)
        | Event::Preempt(who, _, _)
        | Event::Inquiry(who)
        | Event::RequestSense(who)
        | Event::TestUnitReady(who)
        | Event::Write(who) => Some(who),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_logical_unit_tells_what_the_model_tells(events in proptest::collection::vec(event(), 1..60)) {
        let (mut model, mut disk) = (Model::default(), Disk::new());
        for event in events {
            if actor(event).is_some_and(|who| !model.nexuses[who].attached) {
                continue;
            }
            match compare(&mut model, &mut disk, event) {
                Some((expected, got)) => prop_assert_eq!(expected, got, "{:?}", event),
                None => happens(&mut model, &mut disk, event),
            }
        }
        for (who, history) in model.nexuses.iter_mut().enumerate().filter(|(_, history)| history.attached) {
            let expected: Vec<_> = std::iter::from_fn(|| history.tell()).map(A).collect();
            prop_assert_eq!(disk.drain(NAMES[who]), expected, "{}", NAMES[who]);
        }
    }
}

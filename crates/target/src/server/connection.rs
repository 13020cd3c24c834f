//! A connection in full feature phase, on a thread of its own.
//!
//! ```text
//!   ┌─▶ letters, operations that have ended ─▶ PDUs that are there ─▶ answers ─▶ one writev ─┐
//!   └────────────────────── one poll, one recv ◀────────────────────────────────────────────┘
//! ```
//!
//! What is decided here is only who gets what: the protocol is `iscsi`'s, the meaning of commands `scsi`'s. What the
//! page cache has is read and written on this thread; the rest goes through a [`Lane`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use iscsi::session::{ManagementId, TargetConnection, TaskId};

use crate::server::Shared;
use crate::server::command::{Errand, Step};
use crate::server::letter::{DrainId, Ending, Letter};
use crate::server::link::Link;
use crate::server::login::{LoggedIn, Normal, View};
use crate::server::order::{GivenUp, Order};
use crate::server::receiver::{ReceiveError, Received};
use crate::server::slots::Slots;
use crate::server::unit::{Answer, Unit};
use crate::store::Lane;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Ended {
    /// As it should.
    #[error("logged out")]
    LoggedOut,
    /// The peer has closed the connection.
    #[error("the initiator hung up")]
    HungUp,
    /// Nothing was heard for too long.
    #[error("the initiator fell silent")]
    Silent,
    /// It takes nothing.
    #[error("the initiator takes no data")]
    Stuck,
    /// The same initiator port has logged in anew.
    #[error("a new session took its place")]
    Reinstated,
    /// The administrator wanted it so, or the target is gone.
    #[error("dropped by the administrator")]
    Dropped,
    /// A discovery session that does not end by itself.
    #[error("has looked for targets long enough")]
    Discovered,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
    /// The initiator does not keep to the protocol.
    #[error("{0}: {source}", source = source_of(.0))]
    Protocol(#[from] ReceiveError),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// A panic.
    #[error("a bug in the server: please report what it said before this")]
    Bug,
}

fn source_of(error: &ReceiveError) -> String {
    let mut source = std::error::Error::source(error);
    let mut text = String::new();
    while let Some(error) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Something that happens when tasks are gone.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: DrainId,
    /// From how many logical units a letter is still to come.
    pub(super) letters: usize,
    /// After that it has failed.
    pub(super) until: Instant,
    pub(super) then: AfterDrain,
}

/// What happens then.
#[derive(Debug)]
pub(super) enum AfterDrain {
    /// A task management function is answered, with this if all goes well.
    Managed(ManagementId, u8),
    /// A command is answered.
    Answered(TaskId, Answer),
    /// An order has ended: [`Letter::Settled`] says how.
    Ordered(Arc<Unit>, Arc<Order>),
}

/// So many answers of operations that have ended are sent together.
const TOGETHER: usize = 8;

/// A connection.
pub(crate) struct Connection<'a> {
    pub(super) shared: &'a Shared,
    pub(super) link: Link,
    pub(super) protocol: TargetConnection,
    pub(super) slots: Slots<Step>,
    pub(super) lane: Lane<Errand>,
    /// `None` in a discovery session.
    pub(super) normal: Option<Normal>,
    pub(super) pending: Vec<Pending>,
    pub(super) next_drain: u64,
    /// Tasks that wait for memory, the oldest first.
    pub(super) deferred: std::collections::VecDeque<TaskId>,
    letters: Vec<Letter>,
    pinged: bool,
    /// The lane has woken this thread.
    woken: bool,
    /// The server stops, or this is a discovery session: until then the initiator may log out.
    leaves: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        link: Link,
        slots: Slots<Step>,
        logged_in: LoggedIn,
    ) -> io::Result<Self> {
        Ok(Self {
            shared,
            link,
            protocol: TargetConnection::new(logged_in.established),
            slots,
            lane: Lane::new()?,
            leaves: match &logged_in.normal {
                Some(_) => None,
                None => Some(Instant::now() + shared.config.timeouts.login),
            },
            normal: logged_in.normal,
            pending: Vec::new(),
            next_drain: 0,
            deferred: std::collections::VecDeque::new(),
            letters: Vec::new(),
            pinged: false,
            woken: true,
        })
    }

    /// Serves the connection until it ends.
    pub(crate) fn serve(&mut self) -> Ended {
        let turns = AssertUnwindSafe(|| {
            // Letters that came during the login were read by nobody.
            self.look_at_units();
            loop {
                if let Err(ended) = self.turn() {
                    break ended;
                }
            }
        });
        // A bug costs this connection, and what it had begun is waited for all the same.
        let ended = catch_unwind(turns).unwrap_or(Ended::Bug);
        self.link.shut();
        self.wind_up();
        ended
    }

    /// Once around.
    fn turn(&mut self) -> Result<(), Ended> {
        self.read_letters()?;
        self.take_finished()?;
        self.resume_deferred();
        let starved = self.advance()?;
        self.lane.submit();
        self.take_finished()?;
        let sent = self.send()?;
        if self.protocol.is_over() && sent {
            return Err(Ended::LoggedOut);
        }
        if !starved && sent {
            // It stopped because answers piled up, and they are gone.
            return Ok(());
        }
        if self.may_resume() {
            // What was sent has freed memory.
            return Ok(());
        }
        let until = self.check_times()?;
        let lane = std::os::fd::AsFd::as_fd(&self.lane);
        let ready = self.link.wait((starved, !sent), Some(lane), until)?;
        self.woken = ready.other;
        if ready.readable && starved && self.link.receive(&mut self.slots)? == Received::End {
            return Err(Ended::HungUp);
        }
        Ok(())
    }

    /// Takes PDUs while there are any. `false`: only because answers pile up.
    fn advance(&mut self) -> Result<bool, Ended> {
        while self.protocol.takes_more() {
            let more = self
                .link
                .receiver
                .advance(&mut self.protocol, &mut self.slots)?;
            if !more {
                return Ok(true);
            }
            self.pinged = false;
            while let Some(event) = self.protocol.poll_event() {
                self.handle(event);
            }
        }
        Ok(false)
    }

    /// Sends what there is. Whether that was everything.
    fn send(&mut self) -> Result<bool, Ended> {
        loop {
            self.link.sender.gather(&mut self.protocol, &self.slots);
            if self.link.sender.is_empty() {
                return Ok(true);
            }
            if !self.link.flush(&mut self.slots)? {
                return Ok(false);
            }
        }
    }

    fn read_letters(&mut self) -> Result<(), Ended> {
        let mut letters = std::mem::take(&mut self.letters);
        self.link.owner.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Aborted { task, answer } => self.aborted_by_another(task, answer),
                Letter::Drained(id) => self.drained(id),
                Letter::Settled { id, answer, drains } => self.settled(id, answer, drains),
                Letter::UnitsChanged => self.look_at_units(),
                Letter::End(Ending::Reinstated) => return Err(Ended::Reinstated),
                Letter::End(Ending::Dropped) => return Err(Ended::Dropped),
                Letter::End(Ending::Stopping) => self.take_leave(),
            }
        }
        self.letters = letters;
        Ok(())
    }

    /// The server stops: the initiator is asked to log out.
    fn take_leave(&mut self) {
        let limit = self.shared.config.timeouts.stop;
        let until = Instant::now() + limit;
        if self.leaves.is_none_or(|leaves| until < leaves) {
            self.leaves = Some(until);
            let seconds = u16::try_from(limit.as_secs()).unwrap_or(u16::MAX);
            self.protocol.ask_logout(seconds);
        }
    }

    /// Operations have ended. Some answers are on their way while the next ones are made: an initiator that has many commands
    /// under way goes on meanwhile, and so does the disk.
    fn take_finished(&mut self) -> Result<(), Ended> {
        let mut made = 0;
        loop {
            // The bell is silenced when it has rung, and not each time.
            let done = if self.woken {
                self.lane.finished()
            } else {
                self.lane.landed()
            };
            let Some(done) = done else {
                self.woken = false;
                return Ok(());
            };
            self.complete(done);
            made += 1;
            if made % TOGETHER == 0 {
                self.send()?;
            }
        }
    }

    /// Looks at the clock. Until when nothing needs to be done.
    fn check_times(&mut self) -> Result<Instant, Ended> {
        let times = self.shared.config.timeouts;
        let now = Instant::now();
        let silent = self.link.heard + times.ping;
        let mut until = silent;
        if now >= silent {
            if now >= silent + times.silence {
                return Err(Ended::Silent);
            }
            until = silent + times.silence;
            if !self.pinged {
                self.pinged = true;
                self.slots.pool.clear();
                // If the last one is still unanswered, the initiator has been heard since: it is told by other PDUs.
                self.protocol.ping();
                return Ok(now);
            }
        }
        if !self.link.sender.is_empty() {
            let stuck = self.link.sent + times.silence;
            if now >= stuck {
                return Err(Ended::Stuck);
            }
            until = until.min(stuck);
        }
        if let Some(leaves) = self.leaves {
            if now >= leaves {
                return Err(match self.normal {
                    Some(_) => Ended::Stopping,
                    None => Ended::Discovered,
                });
            }
            until = until.min(leaves);
        }
        if let Some(first) = self.pending.iter().map(|pending| pending.until).min() {
            if now >= first {
                self.give_up_drains(now);
                return Ok(now);
            }
            until = until.min(first);
        }
        Ok(until)
    }

    pub(super) fn view(&self, lun: iscsi::pdu::Lun) -> Option<&View> {
        let number = lun.number()?;
        let views = &self.normal.as_ref()?.views;
        views.iter().find(|view| view.lun == number)
    }

    pub(super) fn drain_id(&mut self) -> DrainId {
        self.next_drain += 1;
        DrainId(self.next_drain)
    }

    /// Does `then` once `letters` letters of this drain have come; at once if none is due.
    pub(super) fn after(&mut self, id: DrainId, letters: usize, then: AfterDrain) {
        if letters == 0 {
            self.drain_over(then, true);
            return;
        }
        self.pending.push(Pending {
            id,
            letters,
            until: Instant::now() + self.shared.config.timeouts.drain,
            then,
        });
    }

    /// Waits for an order, as long as the disk of a journal may take.
    pub(super) fn await_order(&mut self, id: DrainId, unit: Arc<Unit>, order: Arc<Order>) {
        self.pending.push(Pending {
            id,
            letters: 1,
            until: Instant::now() + self.shared.config.timeouts.journal,
            then: AfterDrain::Ordered(unit, order),
        });
    }

    /// An order has ended.
    fn settled(&mut self, id: DrainId, answer: Answer, drains: bool) {
        let Some(at) = self.pending.iter().position(|pending| pending.id == id) else {
            return;
        };
        if let AfterDrain::Ordered(_, order) = self.pending.swap_remove(at).then {
            let then = AfterDrain::Answered(order.task, answer);
            self.after(id, usize::from(drains), then);
        }
    }

    /// Gives up orders, without an answer. Those that have ended already end by the letter that is there.
    pub(super) fn give_up_orders(&mut self, which: impl Fn(&Order) -> bool) {
        self.pending.retain(|pending| match &pending.then {
            AfterDrain::Ordered(_, order) if which(order) => order.give_up() == GivenUp::Late,
            _ => true,
        });
    }

    fn drained(&mut self, id: DrainId) {
        let Some(at) = self.pending.iter().position(|pending| pending.id == id) else {
            return;
        };
        self.pending[at].letters -= 1;
        if self.pending[at].letters == 0 {
            let pending = self.pending.swap_remove(at);
            self.drain_over(pending.then, true);
        }
    }

    /// The deadline of some drains has passed: it cannot be said that nothing of what was aborted changes the medium.
    fn give_up_drains(&mut self, now: Instant) {
        let (late, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.until <= now);
        self.pending = rest;
        for pending in late {
            let Pending { id, then, .. } = pending;
            if let AfterDrain::Ordered(unit, order) = then {
                self.give_up_order(id, unit, order);
                continue;
            }
            tracing::error!(
                peer = %self.link.peer,
                "aborted commands are still at the disk: whoever aborted them is told that it failed"
            );
            self.drain_over(then, false);
        }
    }

    /// The disk of a journal has taken too long.
    fn give_up_order(&mut self, id: DrainId, unit: Arc<Unit>, order: Arc<Order>) {
        let how = order.give_up();
        match unit.given_up(how) {
            None if how == GivenUp::Late => self.await_order(id, unit, order),
            None => {}
            Some(answer) => {
                tracing::error!(
                    peer = %self.link.peer,
                    disk = %unit.path().display(),
                    "the disk of the journal takes too long: a change of reservations is given up ({how:?})"
                );
                self.answer(order.task, answer);
            }
        }
    }

    /// Everything that belongs to the connection ends; what still runs at a disk is waited for, since until then the
    /// nexus may not come back.
    fn wind_up(&mut self) {
        self.give_up_orders(|_| true);
        let id = self.drain_id();
        let owner = Arc::clone(&self.link.owner);
        let views = self.normal.as_ref().map(|normal| normal.views.clone());
        let views = views.unwrap_or_default();
        let mut letters = views
            .iter()
            .filter(|view| view.unit.abort_own(&owner, id, |_, _| true))
            .count();
        // Tasks that wait for data or memory leave with their states.
        self.slots.drain_states().for_each(drop);
        let mut said = Instant::now();
        while letters > 0 {
            while self.lane.finished().is_some() {}
            let mut post = Vec::new();
            owner.take(&mut post);
            letters -= post
                .iter()
                .filter(|letter| **letter == Letter::Drained(id))
                .count();
            if letters == 0 {
                break;
            }
            let limit = said + self.shared.config.timeouts.drain;
            if Instant::now() >= limit {
                said = Instant::now();
                tracing::warn!(peer = %self.link.peer, "commands of a session that is over are still at the disk");
            }
            let lane = std::os::fd::AsFd::as_fd(&self.lane);
            if let Err(error) = self.link.wait_for_letters(lane, limit) {
                tracing::error!("cannot wait for commands of a session that is over: {error}");
                break;
            }
        }
        self.shared
            .counters
            .sessions_ended
            .fetch_add(1, Ordering::Relaxed);
    }
}

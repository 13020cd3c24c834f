//! What machines in memory do and print.

use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::machine::{Content, Journal, MemoryMachine};
use super::{State, failed, output};
use crate::cib;
use crate::desired::{CIB, COROSYNC, PACEMAKER, checksum};
use crate::operation::{Look, Operation, Orders};
use crate::transport::{Output, TransportError};

impl State {
    pub(super) fn carry_out(
        &mut self,
        name: &str,
        operation: &Operation,
        reach: usize,
    ) -> Result<Output, TransportError> {
        let machine = self
            .machines
            .get_mut(name)
            .ok_or_else(|| super::unreachable("there is no such machine"))?;
        match operation {
            Operation::Survey(look) => return Ok(output(self.survey(name, look))),
            Operation::Stage { id, files } => {
                let journal = Journal {
                    state: "staged",
                    files: files.clone(),
                    old: Vec::new(),
                    old_pending: machine.pending.clone(),
                };
                machine.journals.insert(id.clone(), journal);
            }
            Operation::Verify { id, .. } if machine.journals.contains_key(id) => {}
            Operation::Verify { .. } => return Err(failed("nothing is staged")),
            Operation::Install { id, effects } => install(machine, id, effects, reach)?,
            Operation::RollBack { id } => machine.put_back(id),
            Operation::Units(orders) => self.units(name, orders)?,
            Operation::InForce { settings, settle } => {
                let conf = machine.conf();
                let is = conf
                    .ok_or_else(|| failed("corosync does not run"))?
                    .in_force();
                if is != *settings {
                    return Err(failed("not in force"));
                }
                for effect in settle {
                    machine.pending.remove(effect);
                }
            }
            Operation::ReloadCorosync => {
                if machine.running.is_none() {
                    return Err(failed("corosync does not run"));
                }
                for machine in self.machines.values_mut() {
                    machine.reload_corosync();
                }
            }
            Operation::ReadCib => {
                let cib = self.cib_line(name).unwrap_or_default();
                return Ok(output(format!("cib-of\t1\n{cib}end\n")));
            }
            Operation::Configure { version, xml } => {
                let (number, live) = self
                    .cib
                    .as_mut()
                    .ok_or_else(|| failed("Pacemaker does not answer"))?;
                if *version != format!("0.{number}") {
                    return Err(failed("changed meanwhile"));
                }
                *number += 1;
                *live = String::from_utf8_lossy(xml).into_owned();
            }
            Operation::Health => {
                let monitor = BASE64.encode(self.monitor(name));
                let monitor = if monitor.is_empty() { "-" } else { &monitor };
                return Ok(output(format!("health\t1\nmonitor\t{monitor}\nend\n")));
            }
            Operation::Judge { .. } | Operation::Settle | Operation::Retry => {}
            Operation::Prepare { script } => return prepare(machine, script),
            Operation::Finish { record, .. } => {
                machine.applied = Some(record.clone());
                machine.journals.clear();
            }
        }
        Ok(output(String::new()))
    }

    fn units(&mut self, name: &str, orders: &Orders) -> Result<(), TransportError> {
        let Some(machine) = self.machines.get_mut(name) else {
            return Ok(());
        };
        let known = |unit: &String| machine.units.contains_key(unit);
        let all = [
            &orders.stop,
            &orders.disable,
            &orders.enable,
            &orders.reload,
            &orders.start,
        ];
        if !all.into_iter().flatten().all(known) {
            return Err(failed("no such unit"));
        }
        if orders.reload_systemd {
            machine.units_read = machine.unit_files();
        }
        for unit in &orders.stop {
            machine.stop(unit);
        }
        if orders.put_aside {
            machine.files.remove(CIB);
            machine.saved_cib = false;
        }
        for unit in &orders.enable {
            if let Some(state) = machine.units.get_mut(unit) {
                state.0 = true;
            }
        }
        for unit in &orders.disable {
            if let Some(state) = machine.units.get_mut(unit) {
                state.0 = false;
            }
        }
        // Stricter than systemd, which would start them as they were.
        if !orders.start.is_empty() && machine.units_read != machine.unit_files() {
            return Err(failed("systemd has not read the changed units"));
        }
        for unit in &orders.start {
            machine.start(unit);
        }
        for effect in &orders.settle {
            machine.pending.remove(effect);
        }
        if machine.active(PACEMAKER) && machine.running.is_some() && !machine.saved_cib {
            let file = machine.files.get(CIB).map(|file| file.bytes.clone());
            machine.saved_cib = true;
            let seed = file.and_then(|bytes| cib::configuration(&bytes).ok());
            if self.cib.is_none() {
                self.cib = Some((1, seed.unwrap_or_default().write()));
            }
        }
        Ok(())
    }

    fn cib_line(&self, name: &str) -> Option<String> {
        let machine = self.machines.get(name)?;
        let (number, xml) = self.cib.as_ref()?;
        (machine.active(PACEMAKER) && machine.running.is_some())
            .then(|| format!("cib\t0.{number}\t{}\n", BASE64.encode(xml)))
    }

    /// Members see each other when their Corosync runs with the same key and the same name.
    fn joined(&self, name: &str) -> Vec<&str> {
        let Some(of) = self.machines.get(name) else {
            return Vec::new();
        };
        let (Some((_, key)), Some(conf)) = (&of.running, of.conf()) else {
            return Vec::new();
        };
        self.machines
            .iter()
            .filter(|(_, other)| {
                other
                    .running
                    .as_ref()
                    .is_some_and(|(_, theirs)| theirs == key)
                    && other
                        .conf()
                        .is_some_and(|theirs| theirs.cluster_name() == conf.cluster_name())
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }

    fn survey(&self, name: &str, look: &Look) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        let mut out = format!(
            "survey\t1\nnow\t{now}\nhostname\t{name}\nkernel\t6.1\nos\tmemory\nsystemd\tyes\n"
        );
        let Some(machine) = self.machines.get(name) else {
            return out;
        };
        look_at(machine, look, &mut out);
        if look.cluster {
            match machine.conf() {
                Some(conf) => {
                    let _ = writeln!(
                        out,
                        "corosync\trunning\t{}",
                        conf.cluster_name().unwrap_or_default()
                    );
                    for (place, member) in self.joined(name).iter().enumerate() {
                        let _ = write!(
                            out,
                            "member\t{place}\t{member}\nnodeid\t{place}\t{place}\njoined\t{place}\n"
                        );
                    }
                }
                None => out.push_str("corosync\tstopped\n"),
            }
            if machine.saved_cib {
                let saved = machine.files.get(CIB).map(|file| file.bytes.clone());
                let text = String::from_utf8_lossy(&saved.unwrap_or_default()).into_owned();
                let _ = writeln!(out, "saved-cib\t{}", text.matches("<primitive").count());
            }
            let runs = machine.active(PACEMAKER) && machine.running.is_some();
            out.push_str(if runs {
                "pacemaker\trunning\n"
            } else {
                "pacemaker\tstopped\n"
            });
            out.push_str(&self.cib_line(name).unwrap_or_default());
        }
        for (id, journal) in &machine.journals {
            let _ = writeln!(out, "journal\t{id}\t{}", journal.state);
        }
        for effect in &machine.pending {
            let _ = writeln!(out, "pending\t{effect}");
        }
        for line in machine.applied.iter().flat_map(|applied| applied.lines()) {
            let (key, value) = line.split_once(' ').unwrap_or_default();
            let _ = writeln!(out, "applied\t{key}\t{value}");
        }
        out.push_str("end\n");
        out
    }

    /// All that is configured runs once more than half of the machines with Corosync see each other.
    fn monitor(&self, name: &str) -> String {
        let joined = self.joined(name);
        let (Some((_, xml)), false) = (&self.cib, joined.is_empty()) else {
            return String::new();
        };
        let members = self
            .machines
            .values()
            .filter(|machine| machine.units.contains_key(COROSYNC))
            .count();
        let quorum = joined.len() * 2 > members;
        let mut out = format!(
            "<pacemaker-result><status code=\"0\"/><summary><current_dc present=\"{quorum}\" name=\"{name}\" \
             with_quorum=\"{quorum}\"/></summary><nodes>"
        );
        for member in &joined {
            let standby = self.machines.get(*member).is_some_and(|one| one.standby);
            let _ = write!(
                out,
                "<node name=\"{member}\" standby=\"{standby}\" online=\"true\" pending=\"false\" unclean=\"false\"/>"
            );
        }
        out.push_str("</nodes><resources>");
        let in_standby = |name: &&str| self.machines.get(*name).is_some_and(|one| one.standby);
        let role = if joined.iter().all(in_standby) {
            "Stopped"
        } else {
            "Started"
        };
        if let (true, Ok(configuration)) = (quorum, cib::configuration(xml.as_bytes())) {
            configuration.walk(&mut |element| {
                if element.name == "primitive" {
                    for _ in &joined {
                        let _ = write!(out, "<resource id=\"{}\" role=\"{role}\"/>", element.id());
                    }
                }
            });
        }
        out.push_str("</resources></pacemaker-result>");
        out
    }
}

fn look_at(machine: &MemoryMachine, look: &Look, out: &mut String) {
    for (path, sum, shown) in &look.files {
        let _ = match machine.files.get(path) {
            None => writeln!(out, "file\t{path}\tabsent"),
            Some(file) => {
                let is = checksum(&file.bytes);
                let text = if *shown && is != *sum {
                    BASE64.encode(&file.bytes)
                } else {
                    "-".to_owned()
                };
                let (mode, user, group) = (file.mode, &file.user, &file.group);
                writeln!(
                    out,
                    "file\t{path}\tregular\t{is}\t{mode:o}\t{user}\t{group}\t{text}"
                )
            }
        };
    }
    for (program, _) in &look.programs {
        let _ = if machine.missing.contains(program) {
            writeln!(out, "program\t{program}\tmissing")
        } else {
            writeln!(out, "program\t{program}\tpresent\t-")
        };
    }
    for (user, group) in &look.owners {
        let _ = writeln!(out, "owner\t{user}\t{group}\tpresent");
    }
    for unit in &look.units {
        let _ = match machine.units.get(unit) {
            Some((enabled, active)) => {
                let active = if *active { "active" } else { "inactive" };
                let enabled = if *enabled { "enabled" } else { "disabled" };
                writeln!(out, "unit\t{unit}\tloaded\t{active}\t{enabled}")
            }
            None => writeln!(out, "unit\t{unit}\tnot-found\tinactive\t"),
        };
    }
    for address in &look.addresses {
        let _ = writeln!(out, "address\t{address}\tpresent");
    }
    out.push_str("space\t/etc\t1000000\n");
}

fn install(
    machine: &mut MemoryMachine,
    id: &str,
    effects: &[crate::effect::Effect],
    reach: usize,
) -> Result<(), TransportError> {
    let Some(mut journal) = machine
        .journals
        .remove(id)
        .filter(|journal| journal.state == "staged")
    else {
        return Err(failed("nothing is staged"));
    };
    journal.old = journal
        .files
        .iter()
        .map(|file| (file.path.clone(), machine.files.get(&file.path).cloned()))
        .collect();
    journal.old_pending = machine.pending.clone();
    machine.pending.extend(effects.iter().cloned());
    for file in journal.files.iter().take(reach) {
        let content = Content {
            bytes: file.bytes.clone(),
            mode: file.mode,
            user: file.user.to_owned(),
            group: file.group.to_owned(),
        };
        machine.files.insert(file.path.clone(), content);
    }
    journal.state = if reach >= journal.files.len() {
        "installed"
    } else {
        "installing"
    };
    machine.journals.insert(id.to_owned(), journal);
    Ok(())
}

fn prepare(machine: &mut MemoryMachine, script: &str) -> Result<Output, TransportError> {
    let (what, script) = script
        .strip_prefix("PICKET_PREPARE=")
        .and_then(|rest| rest.split_once('\n'))
        .unwrap_or_default();
    if what == "do" {
        machine.prepared.insert(script.to_owned());
    } else if !machine.prepared.contains(script) {
        return Err(TransportError::Failed {
            status: 10,
            detail: String::new(),
        });
    }
    Ok(output(String::new()))
}

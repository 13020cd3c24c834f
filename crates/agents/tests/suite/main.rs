//! The agents as their callers see them: processes, against daemons that follow a script.

mod hostile;
mod multicast;
mod support;

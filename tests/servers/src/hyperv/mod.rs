//! A Hyper-V host, or the nodes of a failover cluster in one process: WinRM, WMI, jobs, live migration, faults on demand.
//!
//! True to MS-WSMV, MS-NLMP and the references of the WMI classes, as far as clients can tell: Basic, and Negotiate with
//! NTLM, raw or within SPNEGO; over plain HTTP everything after Negotiate is encrypted, and nothing else is taken unless told
//! so. Checked with pywinrm and pypsrp, which nobody here wrote.
//!
//! | module | is |
//! |---|---|
//! | [`world`] | nodes, guests, jobs, roles: what there is, and how it changes with time |
//! | [`commands`] | the same as text: the file a server starts with, and `POST /-/world` |
//! | `wmi` | the world as classes and instances |
//! | `wql` | queries |
//! | `soap` | envelopes |
//! | `operations` | what is done to the world |
//! | `login`, `spnego` | who asks, and the keys of a connection |
//! | [`host`] | one node's HTTP service |
//!
//! # Faults
//!
//! `/-/faults` is about HTTP ([`crate::faults`]). Encrypted messages hide their operation from HTTP, so faults in operations have
//! a table of their own, `/-/ops`, of the same form, `op` being the action's last word (`Enumerate`, `Pull`, `Get`, `Put`,
//! `RequestStateChange` …) followed by the class (`Enumerate:Msvm_ComputerSystem`). Beside what all servers know, `do` is:
//!
//! | | |
//! |---|---|
//! | `is:401` | the connection is forgotten: HTTP 401 |
//! | `is:denied` | a fault: access denied |
//! | `is:error` | a fault: internal error; with `when=after` it is carried out all the same |
//! | `is:timeout` | a fault: the operation timed out; the same |
//! | `is:truncated` | the reply ends in the middle, properly framed and encrypted |
//! | `is:unrelated` | the reply is to another message |
//! | `is:plain` | the reply is not encrypted |
//! | `is:tampered` | a bit of the encrypted reply is wrong |
//! | `is:fragment` | the instances come as `XmlFragment` |
//! | `is:prefixes` | prefixes nobody has seen |
//! | `is:value-first` | `ReturnValue` before `Job`, and no `_OUTPUT` |
//! | `is:without:NAME` | the instances lack this property |
//! | `is:no-host` | the list lacks the host |
//! | `is:empty` | the list is empty |
//! | `is:stuck` | the job never ends and has no effect |
//! | `is:vanished` | the job takes effect and is not known afterwards |
//! | `is:failed` | the job fails |
//! | `is:endless` | the list does not get shorter |
//! | `is:return:N` | the method returns N and does nothing, unless `when=after` |

pub mod commands;
pub mod host;
mod login;
mod operations;
mod soap;
mod spnego;
mod wmi;
pub mod world;
mod wql;

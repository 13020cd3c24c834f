//! A logical unit as its driver sees it.

mod answers;
mod attention_model;
mod attentions;
mod common;
mod legacy;
mod matrix;
mod medium;
mod random;
mod reservations;

//! Behaviour of the whole, in one binary. Each module says what it covers.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod bench;
mod budget;
mod cassette;
mod cli;
mod confidence;
mod contract;
mod device;
mod encoder;
#[path = "../support/fault_server.rs"]
mod fault_server;
mod faults;
mod faulty;
mod folder;
mod grid;
mod grounding;
mod memory;
mod models;
mod privacy;
mod remote;
mod replay;
mod report;
mod routers;
mod safety;
mod serve;
mod speed;
mod support;
#[path = "../../examples/synthetic_run.rs"]
#[expect(dead_code, reason = "its main is that of the example")]
mod synthetic_run;
mod tasks;
mod tidy;
mod tokenizer;
mod wire;

//! The engine from outside, with routers written by hand: no guest build is needed.

mod by_hand;
mod fuzz;
mod guest;
mod mutate;
mod neighbours;
mod sandbox;
mod zoo;

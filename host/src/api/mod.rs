//! The admin API and the internal listener.

//! A configuration that cannot work is refused when it is built; the defaults are those of the
//! design.

use std::time::Duration;

use tracker_core::{Config, ConfigBuilder, ConfigError, Overflow};

use crate::{millis, secs};

#[test]
fn an_option_that_cannot_be_zero_is_refused_by_name() {
    type Set = fn(ConfigBuilder) -> ConfigBuilder;
    let options: [(&str, Set); 7] = [
        ("capacity_events", |config| config.capacity_events(0)),
        ("capacity_bytes", |config| config.capacity_bytes(0)),
        ("batch_events", |config| config.batch_events(0)),
        ("batch_bytes", |config| config.batch_bytes(0)),
        ("in_flight", |config| config.in_flight(0)),
        ("flush_timeout", |config| {
            config.flush_timeout(Duration::ZERO)
        }),
        ("request_timeout", |config| {
            config.request_timeout(Duration::ZERO)
        }),
    ];
    for (option, set) in options {
        let error = set(Config::builder()).build().unwrap_err();
        assert_eq!(error, ConfigError::Zero { option });
        assert_eq!(error.to_string(), format!("{option} must not be zero"));
    }
}

#[test]
fn the_linger_and_the_delays_may_be_zero() {
    let config = Config::builder()
        .linger(Duration::ZERO)
        .initial_delay(Duration::ZERO)
        .max_delay(Duration::ZERO);
    assert!(config.build().is_ok());
}

#[test]
fn a_first_delay_above_the_cap_is_refused_and_one_at_the_cap_is_not() {
    let config = |initial| {
        Config::builder()
            .initial_delay(initial)
            .max_delay(secs(1))
            .build()
    };
    let error = config(secs(1) + millis(1)).unwrap_err();
    assert_eq!(error, ConfigError::DelayAboveCap);
    assert_eq!(
        error.to_string(),
        "initial_delay must not be longer than max_delay"
    );
    assert!(config(secs(1)).is_ok());
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = Config::default();
    assert_eq!(
        (config.batch_events(), config.batch_bytes()),
        (512, 512 * 1024)
    );
    assert_eq!(
        (config.capacity_events(), config.capacity_bytes()),
        (65_536, 64 * 1024 * 1024)
    );
    assert_eq!(
        (config.linger(), config.initial_delay(), config.max_delay()),
        (millis(200), millis(100), secs(5))
    );
    assert_eq!(
        (config.flush_timeout(), config.request_timeout()),
        (secs(30), secs(10))
    );
    assert_eq!(
        (config.in_flight(), config.overflow()),
        (1, Overflow::Refuse)
    );
    assert_eq!(Config::builder().build(), Ok(config));
}

#[test]
fn every_option_is_kept() {
    let config = Config::builder()
        .capacity_events(1)
        .capacity_bytes(2)
        .overflow(Overflow::DropOldest)
        .batch_events(3)
        .batch_bytes(4)
        .in_flight(5)
        .linger(secs(6))
        .initial_delay(secs(7))
        .max_delay(secs(8))
        .flush_timeout(secs(9))
        .request_timeout(secs(10))
        .build()
        .unwrap();
    assert_eq!(
        (
            config.capacity_events(),
            config.capacity_bytes(),
            config.batch_events()
        ),
        (1, 2, 3)
    );
    assert_eq!(
        (config.batch_bytes(), config.in_flight(), config.overflow()),
        (4, 5, Overflow::DropOldest)
    );
    assert_eq!(
        (config.linger(), config.initial_delay(), config.max_delay()),
        (secs(6), secs(7), secs(8))
    );
    assert_eq!(
        (config.flush_timeout(), config.request_timeout()),
        (secs(9), secs(10))
    );
}

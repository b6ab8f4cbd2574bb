//! The model test: both services' rules against everything a network, a clock, a bank, two crashing processes and restored
//! databases can do to them, in any order.
//!
//! The rules are the services' own functions (`ledger::next_step`, `looked_up`, `paid`, `contradicts`, `outlasts`, `may_call`,
//! `may_have_been_called_before`, `payment::settle`, `OutboxRequest::outgoing`, `PaymentId::of`, and the messages' own
//! encoding), not copies. What the services leave to Postgres is written out here once more, and marked `SQL:` with the
//! statement it stands for; NATS and the bank are modelled by what they may do. After every step the books are compared by the same check that all other tests end in.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

mod bank;
mod books;
mod checks;
mod invoice_app;
mod ledger;
mod nats;
mod payment_provider;
mod transition;
mod world;

use transition::{Plan, Transition};
use world::World;

struct Payments;

impl StateMachineTest for Payments {
    type SystemUnderTest = World;
    type Reference = Plan;

    fn init_test(plan: &<Plan as ReferenceStateMachine>::State) -> World {
        World::new(plan)
    }

    fn apply(mut world: World, _: &Plan, transition: Transition) -> World {
        world.apply(transition);
        world
    }

    fn check_invariants(world: &World, _: &Plan) {
        world.expect_sound();
    }

    fn teardown(mut world: World, plan: Plan) {
        world.come_to_rest();
        world.expect_all_done(&plan);
    }
}

prop_state_machine! {
    #![proptest_config(Config {
        cases: 3000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model/regressions.txt"))),
        // A failure of this length is read by people.
        max_shrink_iters: 20_000,
        ..Config::default()
    })]

    #[test]
    fn no_order_of_faults_loses_an_invoice_or_pays_one_twice(sequential 1..160 => Payments);
}

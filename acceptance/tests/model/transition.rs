//! What can happen, and how likely it is to be tried.

use std::time::Duration;

use proptest::{prelude::*, strategy::Union};
use proptest_state_machine::ReferenceStateMachine;

/// What is fixed before anything happens: how often the bank refuses each invoice before it pays it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) refusals: Vec<u32>,
}

/// One of those there are, whichever; nothing happens where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick(u8);

impl Pick {
    pub(crate) fn of(self, count: usize) -> Option<usize> {
        usize::from(self.0).checked_rem(count)
    }
}

/// What becomes of a call to the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// It is done and answered.
    Answered,
    /// It never arrives.
    LostBefore,
    /// It is done, and the answer is lost.
    LostAfter,
    /// It is not answered in time, and done later.
    Late,
    /// It is turned away, with an answer that says so.
    TurnedAway,
    /// It is answered with what says nothing.
    Mumbled,
}

/// Whose database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    InvoiceApp,
    PaymentProvider,
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transition {
    /// Somebody asks for an invoice to be paid.
    Ask(Pick),
    /// invoice-app sends what was asked for just now.
    Send { lost: bool },
    /// invoice-app sends again what is due.
    Sweep { lost: bool },
    /// A request is delivered, for the first time or once more.
    DeliverRequest { which: Pick, to: bool },
    /// A request is gone from the stream.
    LoseRequest(Pick),
    /// payment-provider goes one step further with one of the requests it has in flight.
    Work(Pick, Luck),
    /// An outcome is delivered, for the first time or once more.
    DeliverOutcome { which: Pick, ack_lost: bool },
    /// An outcome is gone from the stream.
    LoseOutcome(Pick),
    /// A late call arrives at the bank.
    Land(Pick),
    /// An operator ends a payment that only an operator can end.
    Operate(Pick),
    /// invoice-app dies and is started again.
    CrashInvoiceApp,
    /// One of the two replicas of payment-provider dies and is started again; its calls are still under way.
    CrashPaymentProvider { which: bool },
    /// NATS has forgotten everything.
    Forget,
    /// payment-provider looks up an open payment that nobody asks about.
    LookUpUnasked(Pick),
    /// A copy of a service's database is put aside.
    BackUp(Side),
    /// The copy takes the database's place.
    GoBack(Side),
    /// Time passes.
    Pass(Duration),
}

/// From less than a call may take to more than the bank remembers.
const TIMES: [Duration; 7] = [
    Duration::from_millis(300),
    Duration::from_secs(4),
    Duration::from_secs(16),
    Duration::from_mins(11),
    Duration::from_hours(2),
    Duration::from_secs(22 * 3600 + 3590),
    Duration::from_hours(25),
];

impl ReferenceStateMachine for Plan {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        prop::collection::vec(0_u32..3, 1..4)
            .prop_map(|refusals| Self { refusals })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Transition> {
        let pick = || any::<u8>().prop_map(Pick);
        let rarely = || prop::bool::weighted(0.2);
        Union::new_weighted(vec![
            (6, pick().prop_map(Transition::Ask).boxed()),
            (6, rarely().prop_map(|lost| Transition::Send { lost }).boxed()),
            (3, rarely().prop_map(|lost| Transition::Sweep { lost }).boxed()),
            (
                10,
                (pick(), any::<bool>())
                    .prop_map(|(which, to)| Transition::DeliverRequest { which, to })
                    .boxed(),
            ),
            (1, pick().prop_map(Transition::LoseRequest).boxed()),
            (
                40,
                (pick(), luck())
                    .prop_map(|(which, luck)| Transition::Work(which, luck))
                    .boxed(),
            ),
            (
                8,
                (pick(), rarely())
                    .prop_map(|(which, ack_lost)| Transition::DeliverOutcome { which, ack_lost })
                    .boxed(),
            ),
            (1, pick().prop_map(Transition::LoseOutcome).boxed()),
            (3, pick().prop_map(Transition::Land).boxed()),
            (2, pick().prop_map(Transition::Operate).boxed()),
            (1, Just(Transition::CrashInvoiceApp).boxed()),
            (
                2,
                any::<bool>()
                    .prop_map(|which| Transition::CrashPaymentProvider { which })
                    .boxed(),
            ),
            (1, Just(Transition::Forget).boxed()),
            (2, pick().prop_map(Transition::LookUpUnasked).boxed()),
            (2, side().prop_map(Transition::BackUp).boxed()),
            (2, side().prop_map(Transition::GoBack).boxed()),
            (
                8,
                prop::sample::select(&TIMES[..])
                    .prop_map(Transition::Pass)
                    .boxed(),
            ),
        ])
        .boxed()
    }

    fn apply(plan: Self, _: &Transition) -> Self {
        plan
    }
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::InvoiceApp, Side::PaymentProvider])
}

fn luck() -> BoxedStrategy<Luck> {
    prop_oneof![
        5 => Just(Luck::Answered),
        1 => Just(Luck::LostBefore),
        2 => Just(Luck::LostAfter),
        2 => Just(Luck::Late),
        1 => Just(Luck::TurnedAway),
        1 => Just(Luck::Mumbled),
    ]
    .boxed()
}

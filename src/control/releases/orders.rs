//! Orders of operators, carried out.
//!
//! Owns that a kill switch acts before it is written, on whatever the configuration or a source names, and that all
//! other orders count once they are written. Never decides what an order means: that is the
//! [order's](crate::domain::lifecycle::order).

use super::handle::cuts_off;
use super::{CarriedOut, NotCarriedOut, Releases};
use crate::control::journal::JournalError;
use crate::domain::lifecycle::event::{By, Draft, Event, Scope, What};
use crate::domain::lifecycle::explain::sentence;
use crate::domain::lifecycle::order::{Command, Order, OrderError, carry_out};
use crate::telemetry::logging::chain;

impl Releases {
    /// Has a kill switch that is put on count at once; `None` for any other order. [`Self::written`] follows once
    /// it is published.
    pub(in crate::control) fn cut_off(
        &mut self,
        order: &Order,
    ) -> Option<Result<CarriedOut, NotCarriedOut>> {
        if !cuts_off(order) {
            return None;
        }
        let counted = self.draft_of(order).map_err(NotCarriedOut::Order).and_then(|draft| {
            let event = self.ledger.count_at_once(draft);
            event.map_err(|error| NotCarriedOut::Journal(JournalError::Fold(error).into()))
        });
        Some(counted.map(|event| {
            self.follow(&event);
            self.carried_out(&event)
        }))
    }

    /// Writes down a kill switch that counts already. Where that fails it is tried again with each round.
    pub(in crate::control) async fn written(&mut self, done: CarriedOut) -> CarriedOut {
        match self.ledger.catch_up().await {
            Ok(()) => done,
            Err(error) => {
                let why = chain(&error).to_string();
                tracing::error!(error = why, "a kill switch acts and is not written down yet");
                CarriedOut { unwritten: Some(why), ..done }
            }
        }
    }

    /// Writes an order down. It counts once that is done; whoever called publishes it then.
    pub(in crate::control) async fn order(
        &mut self,
        order: &Order,
    ) -> Result<CarriedOut, NotCarriedOut> {
        if let Some(model) = order.command.model() {
            self.observe(&[model.clone()].into());
        }
        let draft = self.draft_of(order)?;
        let written = self.ledger.append(vec![draft]).await.map_err(NotCarriedOut::Journal)?;
        let event = written.into_iter().next_back().ok_or(NotCarriedOut::Closed)?;
        let event = event.map_err(NotCarriedOut::Journal)?;
        self.follow(&event);
        Ok(self.carried_out(&event))
    }

    fn carried_out(&self, event: &Event) -> CarriedOut {
        let model = event.what.model().and_then(|name| self.ledger.state().model(name));
        CarriedOut {
            number: event.seq,
            words: sentence(event),
            generation: model.map(|model| model.generation()),
            unwritten: None,
        }
    }

    fn draft_of(&self, order: &Order) -> Result<Draft, OrderError> {
        let state = self.ledger.state();
        let made = carry_out(state, &self.observed, &self.policies, self.ledger.now(), order);
        let Command::Kill(scope, true) = &order.command else { return made };
        match made {
            // What the life cycle does not know yet, or never will, can be cut off as well.
            Err(OrderError::UnknownModel(_) | OrderError::UnknownVersion(..))
                if order.expected.is_none() && self.is_named(scope) =>
            {
                let by = By::Operator { who: order.who.clone(), why: order.why.clone() };
                Ok(Draft { by, what: What::Killed { scope: scope.clone(), on: true } })
            }
            made => made,
        }
    }

    /// Whether the configuration or a source names what a kill switch is for.
    fn is_named(&self, scope: &Scope) -> bool {
        let found = |is_it: &dyn Fn(&super::Key) -> bool| self.seen.versions.keys().any(is_it);
        match scope {
            Scope::Gateway => true,
            Scope::Model(model) => {
                self.governed.is_configured(model) || found(&|(of, _): &super::Key| of == model)
            }
            Scope::Version(model, version) => {
                let spec = self.intent.models.get(model);
                let key = (model.clone(), version.clone());
                spec.is_some_and(|spec| spec.versions.contains_key(version))
                    || self.seen.versions.contains_key(&key)
            }
        }
    }
}

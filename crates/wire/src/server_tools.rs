//! Tools that only their own provider runs, and what becomes of them where the target does not have them.

use std::borrow::Cow;

use tollway_model::{Notices, Request};

use crate::web_search::{self, is_search};

/// Says that the target has no tool of this kind, which is number `index` of the request's.
///
/// Agents offer some beside their own tools in every call, whether or not they will need them: those are left out.
/// Any other was meant, and its loss refuses the call.
pub(crate) fn lost(
    request: &Request,
    index: usize,
    kind: &str,
    why: impl Into<Cow<'static, str>>,
    notices: &mut Notices,
) {
    let field = format!("tools[{index}]");
    match kind {
        kind if is_search(kind) => web_search::lost(request, why, notices),
        "image_generation" if web_search::is_one_of_many(request) => notices.changed(field, why),
        "tool_search" => {
            notices.changed(field, "every tool is offered to the model at once: none has to be searched for");
        }
        _ => notices.dropped(field, why),
    }
}

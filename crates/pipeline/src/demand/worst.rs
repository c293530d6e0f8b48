//! The most that a call can cost.

use memchr::memmem;
use tollway::exchange::Ask;
use tollway_model::{Content, Dialect, MediaSource, Money, Part, Request, Usage};
use tollway_prices::PriceSheet;
use tollway_route::Deployment;
use tollway_wire::hosted::{self, Runs, Way};

use super::size::split;
use super::{Offer, Size, cost};

/// What can make a call dearer than its length says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Worst {
    /// It carries pictures, sound or files.
    pub(crate) media: bool,
    /// It names some by address or id, so nobody here knows how large they are.
    pub(crate) links: bool,
    /// Its provider may serve it in a dearer, faster tier.
    pub(crate) priority: bool,
}

impl Worst {
    pub(crate) fn of(ask: &Ask) -> Worst {
        let body = &ask.envelope;
        // Unless the caller says otherwise, the provider's own settings decide, which nobody here knows.
        let tier = body.str("service_tier");
        let priority = !matches!(tier.as_deref(), Some("default" | "flex" | "standard" | "standard_only"));
        let may_link = [&b"://"[..], b"file"].iter().any(|mark| memmem::find(body.body(), mark).is_some());
        let links = may_link && ask.request().is_ok_and(has_links);
        Worst { media: links || split(body).1 > 0, links, priority }
    }
}

/// Does it name media that the gateway does not see?
fn has_links(request: &Request) -> bool {
    request.messages.iter().flat_map(|message| &message.parts).any(is_link)
}

fn is_link(part: &Part) -> bool {
    match &part.content {
        Content::Image(media) | Content::Audio(media) | Content::Video(media) | Content::File(media) => {
            matches!(media.source, MediaSource::Url(_) | MediaSource::FileId(_))
        }
        Content::ToolResult(result) => result.parts.iter().any(is_link),
        _ => false,
    }
}

/// How often the provider of a deployment may run tools of its own for a call.
pub(super) fn runs(deployment: &Deployment, ask: &Ask) -> Runs {
    let Some(endpoint) = deployment.endpoint() else { return Runs::Never };
    if endpoint.provider().searches_unasked {
        return Runs::AnyNumber;
    }
    let fields = ["tools", "web_search_options"];
    let is_set = |(name, _): &(String, _)| fields.contains(&name.as_str());
    if deployment.defaults.iter().any(is_set) {
        return Runs::AnyNumber;
    }
    let Some((_, target)) = endpoint.lane(ask.operation, ask.surface) else { return Runs::Never };
    // Servers that Anthropic calls by itself.
    if target == Dialect::Anthropic && ask.envelope.has("mcp_servers") {
        return Runs::AnyNumber;
    }
    if !fields.into_iter().any(|field| ask.envelope.may_have_key(field)) {
        return Runs::Never;
    }
    // What cannot be read can be anything.
    let Ok(request) = ask.request() else { return Runs::AnyNumber };
    let capabilities = endpoint.capabilities();
    let most = ask.envelope.u64("max_tool_calls");
    hosted::runs(request, &Way { target, verbatim: target == ask.surface, capabilities, most })
}

/// The most that a call can cost by a sheet: its prompt written to a cache or heard as sound, its answer thought or spoken,
/// in the fastest tier. Media that nobody here can measure fill the whole context window; what a tool of the provider's own
/// found does so once more for every time it may run, and each time costs its fee.
pub(super) fn dearest(
    sheet: &PriceSheet,
    size: &Size,
    usage: &Usage,
    offer: &Offer<'_>,
    worst: Worst,
    at: i64,
) -> Option<Money> {
    let window = offer.most_input.unwrap_or(0);
    let input = if worst.media { usage.input.max(window) } else { size.most_input };
    let (input, web_searches) = match offer.runs {
        Runs::AtMost(most @ 1..) => (input.max(window).saturating_mul(most.saturating_add(1)), most),
        _ => (input, 0),
    };
    // Where a search has no price, its cost is unknown, and the rest is held all the same.
    let is_sold = cost(sheet, &Usage { web_searches, ..*usage }, None, at).is_some();
    let rest = Usage { input: 0, web_searches: if is_sold { web_searches } else { 0 }, ..*usage };
    let mut inputs = vec![
        Usage { input, ..rest },
        Usage { cache_write: input, ..rest },
        Usage { cache_write_1h: input, ..rest },
    ];
    if worst.media {
        inputs.push(Usage { audio_input: input, ..rest });
        inputs.push(Usage { image_input: input, ..rest });
        inputs.push(Usage { video_input: input, ..rest });
    }
    let priority = sheet.services.contains_key(PRIORITY) && worst.priority;
    let tiers = [None, priority.then_some(PRIORITY)];
    let most = |usage: &Usage| tiers.iter().filter_map(|tier| cost(sheet, usage, *tier, at)).max();
    // What cannot be priced in one way may be in another; without a plain price nothing is known.
    most(&Usage { input, ..rest })?;
    let dearest_input = inputs.into_iter().max_by_key(|usage| most(usage))?;
    let silent = Usage { output: 0, ..dearest_input };
    let output = usage.output;
    let outputs =
        [dearest_input, Usage { reasoning: output, ..silent }, Usage { audio_output: output, ..silent }];
    outputs.iter().filter_map(most).max()
}

/// The dearer tier, as the models table names it.
const PRIORITY: &str = "priority";

// Asking again when the network broke off what was under way, which a laptop's does when it changes,
// and the box's own whenever an engine adds or removes a container's interface.

const PAUSES_MILLIS = [200, 800];

/** Calls an asking function until it does not fail; what `final` says of a failure ends it, too. */
export async function again(ask, final = () => false) {
  for (const pause of PAUSES_MILLIS) {
    try {
      return await ask();
    } catch (cause) {
      if (final(cause)) throw cause;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return ask();
}

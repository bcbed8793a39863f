// The colours of a picture with the values that they stand for.

import { getLinearGradient, INTERPOLATORS, type Domain } from "@h5web/lib";

import { figure } from "./curves";
import type { Scaling, Shade } from "./shade";
import { ticksOf } from "./ticks";

/** Per cent of the bar that a tick keeps from its ends, whose values are written there. */
const MARGIN = 4;

export function ColorScale({ domain, shade: { colorMap, scale } }: { domain: Domain; shade: Shade }) {
  const [least, greatest] = domain;
  const [from, to] = [along(least, scale), along(greatest, scale)];
  const ticks = ticksOf(domain, scale)
    .map((value) => ({ value, place: (100 * (along(value, scale) - from)) / (to - from) }))
    .filter(({ place }) => place > MARGIN && place < 100 - MARGIN);
  return (
    <div className="color-scale" role="group" aria-label={`${colorMap}, ${scale}`}>
      <span aria-label={`Max: ${figure(greatest, 4)}`}>{figure(greatest, 4)}</span>
      <div>
        <i data-keep-colors style={{ backgroundImage: getLinearGradient(INTERPOLATORS[colorMap], "top") }} />
        {ticks.map(({ value, place }) => (
          <small key={value} style={{ bottom: `${place}%` }}>
            {figure(value, 4)}
          </small>
        ))}
      </div>
      <span aria-label={`Min: ${figure(least, 4)}`}>{figure(least, 4)}</span>
    </div>
  );
}

/** Where a value is along the colours, as the shader of h5web has it. */
function along(value: number, scale: Scaling): number {
  return scale === "log" ? Math.log10(value) : scale === "symlog" ? Math.sign(value) * Math.log1p(Math.abs(value)) : value;
}

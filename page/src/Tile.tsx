// A tile: its title, what can be done with it, and what it shows.

import { useCallback, useEffect, useRef, useState, type ComponentType } from "react";
import { ErrorBoundary } from "react-error-boundary";
import { MdMoreHoriz, MdPhotoCamera, MdTableRows } from "react-icons/md";

import { useChosen } from "./chosen";
import { originOf, savePicture, saveTable } from "./exports";
import { COLUMNS, NAMES, type Kind, type Tile as Placed } from "./layouts";
import { useLive } from "./live";
import { CurveTile } from "./tiles/CurveTile";
import { ImageTile } from "./tiles/ImageTile";
import { LogTile } from "./tiles/LogTile";
import { MapTile } from "./tiles/MapTile";
import { RowTile } from "./tiles/RowTile";
import type { Description, TileProps } from "./tiles/tile";
import { TrendTile } from "./tiles/TrendTile";

const SHOWN: Record<Kind, ComponentType<TileProps<any>>> = {
  // of each kind its own options
  map: MapTile,
  image: ImageTile,
  curve: CurveTile,
  trend: TrendTile,
  row: RowTile,
  log: LogTile,
};

export interface TileFrameProps {
  tile: Placed;
  onChange: (part: Partial<Placed>) => void;
  onRemove: () => void;
}

export function TileFrame({ tile, onChange, onRemove }: TileFrameProps) {
  const { id, kind, options } = tile;
  const [description, setDescription] = useState<Description>({ title: NAMES[kind] });
  const [reason, setReason] = useState("");
  const body = useRef<HTMLDivElement>(null);
  const latest = useRef({ options, onChange });
  latest.current = { options, onChange };
  const setOptions = useCallback((part: object) => {
    latest.current.onChange({ options: { ...latest.current.options, ...part } });
  }, []);
  const Shown = SHOWN[kind];
  const { title, table } = description;
  const saved = async (save: (origin: ReturnType<typeof originOf>) => Promise<void> | void): Promise<void> => {
    try {
      await save(originOf(useLive.getState().status, useChosen.getState().of));
      setReason("");
    } catch (error) {
      setReason(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <section className="tile" aria-label={NAMES[kind]} data-testid={`tile ${kind}`}>
      <header className="tile-head">
        <h2 className="grip" title={title}>
          {title}
        </h2>
        <button
          type="button"
          className="icon"
          aria-label={`save a picture of ${title}`}
          title="save a picture (PNG)"
          onClick={() => void saved(async (origin) => savePicture(body.current!, title, origin))}
        >
          <MdPhotoCamera />
        </button>
        <button
          type="button"
          className="icon"
          disabled={!table}
          aria-label={`save the numbers of ${title}`}
          title="save the numbers (CSV)"
          onClick={() => void saved((origin) => saveTable(table!(), title, origin))}
        >
          <MdTableRows />
        </button>
        <Menu tile={tile} onChange={onChange} onRemove={onRemove} />
      </header>
      {reason && (
        <p className="note bad" role="alert">
          {reason}
        </p>
      )}
      <div className="tile-body" ref={body}>
        <ErrorBoundary fallbackRender={Failed}>
          <Shown id={id} options={options} setOptions={setOptions} describe={setDescription} />
        </ErrorBoundary>
      </div>
    </section>
  );
}

function Failed({ error, resetErrorBoundary }: { error: unknown; resetErrorBoundary: () => void }) {
  return (
    <div className="empty" role="alert">
      <p>This tile can't be drawn: {error instanceof Error ? error.message : String(error)}</p>
      <button type="button" onClick={resetErrorBoundary}>
        Try again
      </button>
    </div>
  );
}

/** Moves and sizes a tile without a mouse. */
function Menu({ tile, onChange, onRemove }: TileFrameProps) {
  const [isOpen, setIsOpen] = useState(false);
  const menu = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const close = ({ target }: Event): void => {
      if (!menu.current?.contains(target as Node)) {
        setIsOpen(false);
      }
    };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, []);
  const { x, y, w, h } = tile;
  const steps: [string, Partial<Placed>, boolean][] = [
    ["left", { x: x - 1 }, x > 0],
    ["right", { x: x + 1 }, x + w < COLUMNS],
    ["up", { y: y - 1 }, y > 0],
    ["down", { y: y + 1 }, true],
    ["wider", { w: w + 1 }, x + w < COLUMNS],
    ["narrower", { w: w - 1 }, w > 2],
    ["taller", { h: h + 1 }, true],
    ["shorter", { h: h - 1 }, h > 2],
  ];
  return (
    <div
      className="menu"
      ref={menu}
      onKeyDown={({ key }) => key === "Escape" && setIsOpen(false)}
    >
      <button
        type="button"
        className="icon"
        aria-label={`move, size or remove ${NAMES[tile.kind]}`}
        aria-expanded={isOpen}
        onClick={() => setIsOpen(!isOpen)}
      >
        <MdMoreHoriz />
      </button>
      {isOpen && (
        <div className="popup">
          {steps.map(([name, part, canBe]) => (
            <button key={name} type="button" disabled={!canBe} onClick={() => onChange(part)}>
              {name}
            </button>
          ))}
          <button type="button" className="wide" onClick={onRemove}>
            remove
          </button>
        </div>
      )}
    </div>
  );
}

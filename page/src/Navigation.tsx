// The switches of the page: which scan and which layout are shown, notifications, settings, light and dark.

import { useEffect, useRef, useState, type ReactNode } from "react";
import { MdClose, MdContrast, MdDarkMode, MdLightMode, MdNotifications } from "react-icons/md";

import { openLayout, removeLayout, resetLayout, saveLayout, arrange, useLayout } from "./arranged";
import { choose, useChosen } from "./chosen";
import { KINDS, NAMES, withTile } from "./layouts";
import { useLive } from "./live";
import { useTheme } from "./theme";
import { isBad, Notices } from "./tiles/LogTile";

export type View = "live" | "browse";

export interface NavigationProps {
  view: View;
  onView: (view: View) => void;
  isSet: boolean;
  onSettings: () => void;
}

export function Navigation({ view, onView, isSet, onSettings }: NavigationProps) {
  const [theme, turnTheme] = useTheme();
  return (
    <>
      <div className="switch-views" role="group" aria-label="view">
        <button type="button" aria-pressed={view === "live"} onClick={() => onView("live")}>
          Live
        </button>
        <button type="button" aria-pressed={view === "browse"} onClick={() => onView("browse")}>
          Browse
        </button>
      </div>
      {view === "live" && <Scans />}
      {view === "live" && <LayoutMenu />}
      <Bell />
      <button type="button" aria-pressed={isSet} onClick={onSettings}>
        Settings
      </button>
      <button type="button" className="icon" title={`colours: ${theme}`} aria-label={`colours of the page: ${theme}`} onClick={turnTheme}>
        {{ system: <MdContrast />, light: <MdLightMode />, dark: <MdDarkMode /> }[theme]}
      </button>
    </>
  );
}

/** The latest scan, or one before it that is still here. */
function Scans() {
  const runs = useLive((live) => live.runs);
  const latest = useLive((live) => live.run);
  const of = useChosen((chosen) => chosen.of);
  const others = runs.filter(({ uid }) => uid !== latest);
  if (others.length === 0 && of === null) {
    return null;
  }
  const isGone = of !== null && !runs.some(({ uid }) => uid === of);
  return (
    <select
      aria-label="scan"
      value={of ?? ""}
      className={of === null ? "" : "past"}
      onChange={({ target }) => choose({ of: target.value || null, point: "latest" })}
    >
      <option value="">latest scan</option>
      {others.map(({ uid, scan_id, plan_name, exit_status }) => (
        <option key={uid} value={uid}>
          scan {scan_id ?? uid.slice(0, 8)} {plan_name ?? ""} {exit_status === "success" ? "" : (exit_status ?? "")}
        </option>
      ))}
      {isGone && <option value={of}>{of.slice(0, 8)} (not here any more)</option>}
    </select>
  );
}

function LayoutMenu() {
  const { name, layout, isDefault, reason } = useLayout();
  const layouts = useLive((live) => live.layouts) ?? {};
  const [isCopied, setIsCopied] = useState(false);
  const link = async (): Promise<void> => {
    await navigator.clipboard.writeText(location.href);
    setIsCopied(true);
  };
  return (
    <Popup name={`Layout: ${name ?? (isDefault ? "default" : "own")}`} isBad={reason !== ""}>
      {reason && <p className="bad">{reason}</p>}
      <ul className="names" aria-label="layouts">
        <li>
          <button type="button" aria-pressed={name === null} onClick={resetLayout}>
            default
          </button>
        </li>
        {Object.keys(layouts).map((one) => (
          <li key={one}>
            <button type="button" aria-pressed={one === name} onClick={() => openLayout(one)}>
              {one}
            </button>
            <button type="button" className="icon" aria-label={`remove the layout ${one}`} onClick={() => void removeLayout(one)}>
              <MdClose />
            </button>
          </li>
        ))}
      </ul>
      <form
        className="save"
        onSubmit={(event) => {
          event.preventDefault();
          const name = String(new FormData(event.currentTarget).get("name")).trim();
          if (name) {
            void saveLayout(name, layout);
          }
        }}
      >
        <input name="name" aria-label="name of the layout" placeholder="name" maxLength={100} autoComplete="off" />
        <button type="submit">Save for all</button>
      </form>
      <div className="adds" role="group" aria-label="add a tile">
        <span>add</span>
        {KINDS.map((kind) => (
          <button key={kind} type="button" onClick={() => arrange(withTile(layout, kind))}>
            {NAMES[kind]}
          </button>
        ))}
      </div>
      {navigator.clipboard && (
        <button type="button" onClick={() => void link()}>
          {isCopied ? "Link copied" : "Copy a link to what is seen"}
        </button>
      )}
    </Popup>
  );
}

function Bell() {
  const notices = useLive((live) => live.notices);
  const [seen, setSeen] = useState(0);
  const fresh = notices.filter(({ number }) => number > seen);
  const last = notices.at(-1);
  return (
    <>
      <Popup
        name={fresh.length ? `Notifications, ${fresh.length} new` : "Notifications"}
        label={
          <>
            <MdNotifications /> {fresh.length > 0 && fresh.length}
          </>
        }
        isBad={fresh.some(({ kind }) => isBad(kind))}
        onOpen={() => setSeen(last?.number ?? 0)}
      >
        <Notices />
      </Popup>
      <p className="unseen" role="status">
        {last && `${last.kind}: ${last.text}`}
      </p>
    </>
  );
}

interface PopupProps {
  name: string;
  /** What is on the button, instead of the name. */
  label?: ReactNode;
  isBad?: boolean;
  onOpen?: () => void;
  children: ReactNode;
}

function Popup({ name, label = name, isBad = false, onOpen, children }: PopupProps) {
  const [isOpen, setIsOpen] = useState(false);
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const close = ({ target }: Event): void => {
      if (!place.current?.contains(target as Node)) {
        setIsOpen(false);
      }
    };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, []);
  const turn = (): void => {
    setIsOpen(!isOpen);
    onOpen?.();
  };
  return (
    <div className="menu" ref={place} onKeyDown={({ key }) => key === "Escape" && setIsOpen(false)}>
      <button type="button" className={isBad ? "bad" : ""} aria-label={name} title={name} aria-expanded={isOpen} onClick={turn}>
        {label}
      </button>
      {isOpen && <div className="popup">{children}</div>}
    </div>
  );
}

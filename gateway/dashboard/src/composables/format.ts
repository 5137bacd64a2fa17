// Times, numbers and sizes as the reader's language writes them.

import { computed } from "vue";
import { usePreferences } from "@/stores/preferences";

export function useFormat() {
  const preferences = usePreferences();
  const tag = computed(() => (preferences.language === "zh" ? "zh-CN" : "en-GB"));
  const dateTime = computed(() => new Intl.DateTimeFormat(tag.value, { dateStyle: "medium", timeStyle: "medium" }));
  const clock = computed(() => new Intl.DateTimeFormat(tag.value, { timeStyle: "medium" }));
  const relative = computed(() => new Intl.RelativeTimeFormat(tag.value, { numeric: "auto" }));
  const plain = computed(() => new Intl.NumberFormat(tag.value, { maximumSignificantDigits: 4 }));
  const plainRate = computed(() => new Intl.NumberFormat(tag.value, { maximumSignificantDigits: 3 }));
  const whole = computed(() => new Intl.NumberFormat(tag.value, { maximumFractionDigits: 0 }));
  const ratio = computed(() => new Intl.NumberFormat(tag.value, { style: "percent", maximumFractionDigits: 2 }));
  const compact = computed(() => new Intl.NumberFormat(tag.value, { notation: "compact", maximumFractionDigits: 1 }));

  /** Milliseconds since 1970, or a text such as RFC 3339's. */
  const time = (at: number | string | null | undefined) => (at == null ? "–" : dateTime.value.format(new Date(at)));
  const timeOfDay = (at: number | string | null | undefined) => (at == null ? "–" : clock.value.format(new Date(at)));
  const number = (value: number | null | undefined) => (value == null ? "–" : whole.value.format(value));
  const short = (value: number | null | undefined) => (value == null ? "–" : compact.value.format(value));
  /** How many a second: small ones with their first digits. */
  const rate = (value: number | null | undefined) =>
    value == null ? "–" : Math.abs(value) < 1000 ? plainRate.value.format(value) : compact.value.format(value);
  const percent = (value: number | null | undefined) => (value == null ? "–" : ratio.value.format(value));

  function milliseconds(value: number | null | undefined): string {
    if (value == null) return "–";
    return value >= 1000 ? `${plain.value.format(value / 1000)} s` : `${plain.value.format(value)} ms`;
  }

  function bytes(value: number | null | undefined): string {
    if (value == null) return "–";
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let [size, unit] = [value, 0];
    while (size >= 1024 && unit < units.length - 1) [size, unit] = [size / 1024, unit + 1];
    return `${plain.value.format(size)} ${units[unit]}`;
  }

  /** How long something took or lasts, in seconds. */
  function duration(seconds: number | null | undefined): string {
    if (seconds == null) return "–";
    const unit = (value: number, name: string) =>
      new Intl.NumberFormat(tag.value, { style: "unit", unit: name, unitDisplay: "narrow", maximumFractionDigits: 0 }).format(value);
    if (seconds < 60) return unit(seconds, "second");
    if (seconds < 3600) return `${unit(Math.floor(seconds / 60), "minute")} ${unit(seconds % 60, "second")}`;
    if (seconds < 86_400) return `${unit(Math.floor(seconds / 3600), "hour")} ${unit(Math.floor((seconds % 3600) / 60), "minute")}`;
    return `${unit(Math.floor(seconds / 86_400), "day")} ${unit(Math.floor((seconds % 86_400) / 3600), "hour")}`;
  }

  /** "3 minutes ago" of milliseconds since 1970. */
  function ago(at: number | string | null | undefined): string {
    if (at == null) return "–";
    const seconds = Math.round((new Date(at).getTime() - Date.now()) / 1000);
    const steps: [number, Intl.RelativeTimeFormatUnit][] = [[86_400, "day"], [3600, "hour"], [60, "minute"]];
    for (const [size, name] of steps) {
      if (Math.abs(seconds) >= size) return relative.value.format(Math.trunc(seconds / size), name);
    }
    return relative.value.format(seconds, "second");
  }

  return { time, timeOfDay, number, short, rate, percent, milliseconds, bytes, duration, ago };
}

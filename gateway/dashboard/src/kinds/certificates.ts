// Certificates: what clients are shown over TLS. Keys are never shown.

import type { Item } from "@/api/types";
import { codes, text, type Kind, type Shown } from "./kind";

export interface Details {
  subject: string;
  names: string[];
  issuer: string;
  serial: string;
  not_before: number;
  not_after: number;
  fingerprint: string;
}

export function detailsOf(value: Item["value"]): Details | undefined {
  return (value.details as Details | null | undefined) ?? undefined;
}

export function daysLeft(details: Details, now = Date.now()): number {
  return Math.floor((details.not_after - now / 1000) / 86_400);
}

export function ending(details: Details | undefined): Shown {
  if (!details) return text(undefined);
  const days = daysLeft(details);
  if (days < 0) return { as: "state", text: "objects.expired", tone: "bad" };
  return { as: "state", text: "objects.daysLeft", tone: days < 14 ? "bad" : days < 30 ? "odd" : "good", values: { days } };
}

export const certificates: Kind = {
  id: "certificates",
  schema: "Certificate",
  columns: [
    {
      field: "hosts",
      show: ({ value }) => codes(Array.isArray(value.hosts) && value.hosts.length > 0 ? value.hosts : detailsOf(value)?.names),
    },
    { field: "issuer", show: ({ value }) => text(detailsOf(value)?.issuer) },
    { field: "ends", show: ({ value }) => ending(detailsOf(value)) },
    {
      field: "default",
      show: ({ value }) => (value.default === true ? { as: "state", text: "objects.isDefault", tone: "plain" } : text(undefined)),
    },
  ],
  filters: [],
  groups: [
    { title: "objects.basics", fields: ["cert", "key", "hosts", "default"] },
    { title: "objects.clients", fields: ["client_auth", "client_ca"] },
  ],
  begin: () => ({ cert: "", key: "" }),
  naming: "optional",
  special: { cert: "pem", key: "pem", client_ca: "pem" },
  shownOnly: ["details"],
};

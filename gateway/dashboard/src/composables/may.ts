// Whether the person may change an object.

import type { Stored } from "@/api/types";
import type { Kind } from "@/kinds/kind";
import { useSession } from "@/stores/session";

export function useMay(kind: () => Kind) {
  const session = useSession();
  function change(name: string, value: Stored): boolean {
    if (session.mayEditEverything) return true;
    const service = kind().service;
    return service !== undefined && session.mayEditService(service(name, value));
  }
  const create = () => session.mayEditEverything || (session.mayEdit && kind().service !== undefined);
  return { change, create };
}

// Who is logged in, and what they may do. The session itself is a cookie that no script can read.

import { defineStore } from "pinia";
import { computed, ref } from "vue";
import { call } from "@/api/client";
import { Problem } from "@/api/problem";

export type Role = "viewer" | "editor" | "admin";

export interface Me {
  name: string;
  role: Role;
  services?: string[] | null;
  credential: string;
  csrf_token?: string;
  expires?: string | null;
  totp?: boolean;
}

export const useSession = defineStore("session", () => {
  const me = ref<Me>();
  const csrf = ref<string>();
  /** The login has ended while the panel was open. */
  const hasEnded = ref(false);

  const mayEdit = computed(() => me.value?.role === "editor" || me.value?.role === "admin");
  const mayEditEverything = computed(() => mayEdit.value && !me.value?.services);
  const mayAdminister = computed(() => me.value?.role === "admin" && !me.value.services);

  /** Whether a service, its nodes and its routes may be changed. */
  function mayEditService(service: string): boolean {
    if (!mayEdit.value) return false;
    const services = me.value?.services;
    if (!services) return true;
    return services.some((allowed) =>
      allowed.endsWith("*") ? service.startsWith(allowed.slice(0, -1)) : allowed === service,
    );
  }

  /** Finds out whether there is a session already. */
  async function resume(): Promise<boolean> {
    try {
      const answer = await call<Me>("GET", "/me", { isLogin: true });
      me.value = answer.body;
      csrf.value = answer.body.csrf_token;
      hasEnded.value = false;
      return true;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) return false;
      throw error;
    }
  }

  async function logIn(username: string, password: string, totp?: string) {
    const body = { username, password, totp: totp || undefined };
    const answer = await call<{ csrf_token: string }>("POST", "/login", { body, isLogin: true });
    csrf.value = answer.body.csrf_token;
    await resume();
  }

  async function logOut() {
    try {
      await call("POST", "/logout", { isLogin: true });
    } catch (error) {
      // It has ended already.
      if (!(error instanceof Problem) || error.status !== 401) throw error;
    }
    forget();
  }

  function forget() {
    me.value = undefined;
    csrf.value = undefined;
    hasEnded.value = false;
  }

  function ended() {
    if (me.value) hasEnded.value = true;
  }

  return { me, csrf, hasEnded, mayEdit, mayEditEverything, mayAdminister, mayEditService, resume, logIn, logOut, forget, ended };
});

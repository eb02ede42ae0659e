/* A stand-in for libnvidia-ml.so.1, for tests on machines without a GPU.
 *
 * It answers the NVML calls that an allocator and a metrics sampler make from
 * a small text file: the one named by FAKE_NVML_CONFIG, else fake-nvml.conf
 * beside the library itself, so that tests in one process can each have a copy
 * of the library and a machine of their own. The file is read again at every
 * call, so a test can change it under a running program: write a new one and
 * rename it into place. Without a file it reports FAKE_NVML_GPUS (default 1)
 * idle devices.
 *
 * One directive a line, '#' starts a comment, words are key=value; '_' in a
 * name stands for a space. Sizes are bytes and take K, M or G (binary).
 *
 *   driver 550.54.15
 *   cuda 12040
 *   gpu 0 uuid=GPU-.. name=NVIDIA_H100 total=80G used=1G reserved=0 util=0
 *         memutil=0 temp=35 power=70000 limit=700000 bus=00000000:07:00.0
 *         minor=0 numa=0 sm=1980 memclk=2619 lost=0 mig=0 cc=9.0
 *         ecc=0                             (one line; ecc: uncorrected, volatile)
 *   gpus 0                                  how many there are, where no gpu line says
 *   proc 0 pid=1234 mem=2G type=C sm=50 gi=7   one process on GPU 0 (C, G or M),
 *                                           on one MIG instance if gi is given
 *   mig 0 uuid=MIG-.. name=.. total=10G used=0 gi=7 ci=0 slices=1
 *   nvlink 0 1 4                            4 active links between 0 and 1
 *   nvswitch 0 18                           active links from 0 to a switch
 *   topo 0 1 10                             common ancestor level (nvml.h)
 *   xid 0 79                                one XID event for each event set
 *   fail nvmlInit_v2 9                      the call returns that code
 *   fail nvmlDeviceGetPowerUsage 3 1        only when asked about GPU 1
 *   slow nvmlDeviceGetCount_v2 500          the call takes that many milliseconds
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_GPU 32
#define MAX_MIG 64
#define MAX_PROC 512
#define MAX_LINK 18

enum {
  OK = 0, UNINIT = 1, BAD_ARG = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
  SMALL = 7, TIMEOUT = 10, LOST = 15, BAD_VERSION = 25
};

typedef unsigned int u32;
typedef unsigned long long u64;
typedef int ret;

/* Layouts as in the public nvml.h. */
typedef struct { char bus_legacy[16]; u32 domain, bus, device, id, subsys; char bus_id[32]; } pci_t;
typedef struct { u32 gpu, memory; } util_t;
typedef struct { u64 total, free, used; } mem_t;
typedef struct { u32 version; u64 total, reserved, free, used; } mem2_t;
typedef struct { u32 pid; u64 mem; } proc1_t;
typedef struct { u32 pid; u64 mem; u32 gi, ci; } proc2_t;
typedef struct { u32 pid; u64 ts; u32 sm, mem, enc, dec; } sample_t;
typedef struct { u32 sms, ce, dec, enc, jpeg, ofa, gi_slices, ci_slices; u64 mem_mb; } attrs_t;
typedef struct { void *dev; u64 type, data; u32 gi, ci; } event_t;
typedef struct { u32 version, sensor; int value; } temp_t;

typedef struct {
  int parent; /* -1, or the GPU that this MIG device is a part of */
  u32 index, minor, util, memutil, temp, power, limit, sm, memclk, lost, mig, gi, ci, slices, ecc;
  u32 domain, bus, slot;
  int numa, major, minor_cc;
  u64 total, used, reserved;
  char uuid[96], name[96];
} gpu_t;

typedef struct { u32 gpu, pid, sm; int gi; u64 mem; char type; } proc_t;
typedef struct { u32 a, b, n; } link_t;
typedef struct { u32 a, b, level; } topo_t;
typedef struct { u32 gpu; u64 code; } xid_t;
typedef struct { char fn[64]; int code, gpu; } fail_t;

/* Each thread reads its own copy, so calls from many threads are safe. */
static _Thread_local struct {
  gpu_t gpu[MAX_GPU], mig[MAX_MIG];
  proc_t proc[MAX_PROC];
  link_t link[64];
  topo_t topo[64];
  xid_t xid[64];
  fail_t fail[64], slow[8];
  u32 gpus, migs, procs, links, topos, xids, fails, slows, sw[MAX_GPU], switches;
  int cuda;
  char driver[80];
} c;

/* A handle is the address of one of these slots: it stays valid, and keeps
 * naming the same device, when the file is read again. */
static char gpu_slot[MAX_GPU], mig_slot[MAX_MIG];
static int inits;

static u64 size_of(const char *s) {
  char *end;
  u64 v = strtoull(s, &end, 10);
  if (*end == 'K') v <<= 10;
  if (*end == 'M') v <<= 20;
  if (*end == 'G') v <<= 30;
  return v;
}

static void text(char *to, size_t n, const char *from, int spaces) {
  snprintf(to, n, "%s", from);
  if (spaces)
    for (; *to; to++)
      if (*to == '_') *to = ' ';
}

static void default_gpu(gpu_t *g, u32 i) {
  memset(g, 0, sizeof *g);
  g->parent = -1;
  g->index = g->minor = i;
  g->total = 80ull << 30;
  g->temp = 35, g->power = 70000, g->limit = 700000, g->sm = 1980, g->memclk = 2619;
  g->bus = 7 + i, g->numa = 0, g->major = 9, g->minor_cc = 0;
  snprintf(g->uuid, sizeof g->uuid, "GPU-00000000-0000-0000-0000-%012u", i);
  snprintf(g->name, sizeof g->name, "Fake NVIDIA H100 80GB HBM3");
}

static void gpu_word(gpu_t *g, const char *k, const char *v) {
  u32 n = (u32)strtoul(v, NULL, 10);
  if (!strcmp(k, "uuid")) text(g->uuid, sizeof g->uuid, v, 0);
  else if (!strcmp(k, "name")) text(g->name, sizeof g->name, v, 1);
  else if (!strcmp(k, "total")) g->total = size_of(v);
  else if (!strcmp(k, "used")) g->used = size_of(v);
  else if (!strcmp(k, "reserved")) g->reserved = size_of(v);
  else if (!strcmp(k, "util")) g->util = n;
  else if (!strcmp(k, "memutil")) g->memutil = n;
  else if (!strcmp(k, "temp")) g->temp = n;
  else if (!strcmp(k, "power")) g->power = n;
  else if (!strcmp(k, "limit")) g->limit = n;
  else if (!strcmp(k, "sm")) g->sm = n;
  else if (!strcmp(k, "memclk")) g->memclk = n;
  else if (!strcmp(k, "minor")) g->minor = n;
  else if (!strcmp(k, "numa")) g->numa = (int)n;
  else if (!strcmp(k, "lost")) g->lost = n;
  else if (!strcmp(k, "mig")) g->mig = n;
  else if (!strcmp(k, "gi")) g->gi = n;
  else if (!strcmp(k, "ci")) g->ci = n;
  else if (!strcmp(k, "slices")) g->slices = n;
  else if (!strcmp(k, "ecc")) g->ecc = n;
  else if (!strcmp(k, "cc")) sscanf(v, "%d.%d", &g->major, &g->minor_cc);
  else if (!strcmp(k, "bus")) sscanf(v, "%x:%x:%x", &g->domain, &g->bus, &g->slot);
}

/* Opens the file that the environment names, or the one beside this library. */
static FILE *config(void) {
  const char *named = getenv("FAKE_NVML_CONFIG"), *slash;
  char path[4096];
  Dl_info self;
  if (named) return fopen(named, "r");
  if (!dladdr(&inits, &self) || !(slash = strrchr(self.dli_fname, '/'))) return NULL;
  int n = snprintf(path, sizeof path, "%.*s/fake-nvml.conf", (int)(slash - self.dli_fname), self.dli_fname);
  return n < (int)sizeof path ? fopen(path, "r") : NULL;
}

static void load(void) {
  const char *n = getenv("FAKE_NVML_GPUS");
  FILE *f = config();
  char line[1024];
  memset(&c, 0, sizeof c);
  c.cuda = 12040;
  strcpy(c.driver, "550.54.15");
  if (!f) {
    c.gpus = n ? (u32)atoi(n) : 1;
    if (c.gpus > MAX_GPU) c.gpus = MAX_GPU;
    for (u32 i = 0; i < c.gpus; i++) default_gpu(&c.gpu[i], i);
    return;
  }
  while (fgets(line, sizeof line, f)) {
    char *w[32], *save, *p;
    u32 k = 0;
    if ((p = strchr(line, '#'))) *p = 0;
    for (p = strtok_r(line, " \t\r\n", &save); p && k < 32; p = strtok_r(NULL, " \t\r\n", &save)) w[k++] = p;
    if (k < 2) continue;
    u32 id = (u32)strtoul(w[1], NULL, 10);
    gpu_t *g = NULL;
    proc_t *q = NULL;
    if (!strcmp(w[0], "driver")) text(c.driver, sizeof c.driver, w[1], 0);
    else if (!strcmp(w[0], "cuda")) c.cuda = (int)id;
    else if (!strcmp(w[0], "gpu") && id < MAX_GPU) {
      while (c.gpus <= id) { default_gpu(&c.gpu[c.gpus], c.gpus); c.gpus++; }
      g = &c.gpu[id];
    } else if (!strcmp(w[0], "mig") && c.migs < MAX_MIG && id < MAX_GPU) {
      g = &c.mig[c.migs];
      default_gpu(g, c.migs);
      g->parent = (int)id, g->total = 10ull << 30, g->slices = 1, g->gi = 7 + c.migs;
      snprintf(g->uuid, sizeof g->uuid, "MIG-00000000-0000-0000-0000-%012u", c.migs);
      c.migs++;
    } else if (!strcmp(w[0], "proc") && c.procs < MAX_PROC) {
      q = &c.proc[c.procs++];
      q->gpu = id, q->type = 'C', q->gi = -1;
    } else if (!strcmp(w[0], "gpus")) {
      while (c.gpus < id && c.gpus < MAX_GPU) { default_gpu(&c.gpu[c.gpus], c.gpus); c.gpus++; }
    } else if (k > 2 && !strcmp(w[0], "nvswitch") && id < MAX_GPU)
      c.sw[id] = (u32)atoi(w[2]), c.switches++;
    else if (k > 3 && !strcmp(w[0], "nvlink") && c.links < 64)
      c.link[c.links++] = (link_t){id, (u32)atoi(w[2]), (u32)atoi(w[3])};
    else if (k > 3 && !strcmp(w[0], "topo") && c.topos < 64)
      c.topo[c.topos++] = (topo_t){id, (u32)atoi(w[2]), (u32)atoi(w[3])};
    else if (k > 2 && !strcmp(w[0], "xid") && c.xids < 64)
      c.xid[c.xids++] = (xid_t){id, strtoull(w[2], NULL, 10)};
    else if (k > 2 && !strcmp(w[0], "fail") && c.fails < 64) {
      text(c.fail[c.fails].fn, sizeof c.fail[0].fn, w[1], 0);
      c.fail[c.fails].gpu = k > 3 ? atoi(w[3]) : -1;
      c.fail[c.fails++].code = atoi(w[2]);
    } else if (k > 2 && !strcmp(w[0], "slow") && c.slows < 8) {
      text(c.slow[c.slows].fn, sizeof c.slow[0].fn, w[1], 0);
      c.slow[c.slows++].code = atoi(w[2]);
    }
    for (u32 i = 2; i < k; i++) {
      char *v = strchr(w[i], '=');
      if (!v) continue;
      *v++ = 0;
      if (g) gpu_word(g, w[i], v);
      if (q && !strcmp(w[i], "pid")) q->pid = (u32)strtoul(v, NULL, 10);
      if (q && !strcmp(w[i], "gi")) q->gi = atoi(v);
      if (q && !strcmp(w[i], "mem")) q->mem = size_of(v);
      if (q && !strcmp(w[i], "sm")) q->sm = (u32)atoi(v);
      if (q && !strcmp(w[i], "type")) q->type = *v;
    }
  }
  fclose(f);
}

/* Reads the file and answers with the code that a 'fail' line gives. */
static ret enter(const char *fn, int must_be_init) {
  load();
  for (u32 i = 0; i < c.slows; i++)
    if (!strcmp(c.slow[i].fn, fn)) usleep((u32)c.slow[i].code * 1000);
  for (u32 i = 0; i < c.fails; i++)
    if (c.fail[i].gpu < 0 && !strcmp(c.fail[i].fn, fn)) return c.fail[i].code;
  return must_be_init && !inits ? UNINIT : OK;
}

/* The code that a 'fail' line gives for one GPU alone. */
static ret fails_for(const char *fn, u32 gpu) {
  for (u32 i = 0; i < c.fails; i++)
    if (c.fail[i].gpu == (int)gpu && !strcmp(c.fail[i].fn, fn)) return c.fail[i].code;
  return OK;
}
static u32 card(const gpu_t *g) { return g->parent >= 0 ? (u32)g->parent : g->index; }

static gpu_t *slot(void *h) {
  char *p = h;
  if (p >= gpu_slot && p < gpu_slot + c.gpus) return &c.gpu[p - gpu_slot];
  if (p >= mig_slot && p < mig_slot + c.migs) return &c.mig[p - mig_slot];
  return NULL;
}

#define ENTER() do { ret r_ = enter(__func__, 1); if (r_) return r_; } while (0)
#define DEVICE(g, h)                      \
  ENTER();                                \
  gpu_t *g = slot(h);                     \
  if (!g) return BAD_ARG;                 \
  if (g->lost) return LOST;               \
  do { ret f_ = fails_for(__func__, card(g)); if (f_) return f_; } while (0)
#define WHOLE(g, h) DEVICE(g, h); if (g->parent >= 0) return NOT_SUPPORTED

static ret put(char *to, u32 n, const char *from) {
  if (strlen(from) >= n) return SMALL;
  strcpy(to, from);
  return OK;
}

/* Init and system */
static ret begin(const char *fn) { ret r = enter(fn, 0); if (!r) inits++; return r; }
EXPORT ret nvmlInit(void) { return begin(__func__); }
EXPORT ret nvmlInit_v2(void) { return begin(__func__); }
EXPORT ret nvmlInitWithFlags(u32 flags) { (void)flags; return begin(__func__); }
EXPORT ret nvmlShutdown(void) { ENTER(); inits--; return OK; }
EXPORT ret nvmlSystemGetDriverVersion(char *s, u32 n) { ENTER(); return put(s, n, c.driver); }
EXPORT ret nvmlSystemGetNVMLVersion(char *s, u32 n) {
  char v[96];
  ENTER();
  snprintf(v, sizeof v, "12.%s", c.driver);
  return put(s, n, v);
}
EXPORT ret nvmlSystemGetCudaDriverVersion(int *v) { ENTER(); *v = c.cuda; return OK; }
EXPORT ret nvmlSystemGetCudaDriverVersion_v2(int *v) { ENTER(); *v = c.cuda; return OK; }
EXPORT ret nvmlSystemGetProcessName(u32 pid, char *s, u32 n) {
  char path[64], buf[512];
  ENTER();
  snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
  FILE *f = fopen(path, "r");
  if (!f) return NOT_FOUND;
  size_t got = fread(buf, 1, sizeof buf - 1, f);
  fclose(f);
  buf[got] = 0;
  if (n) snprintf(s, n, "%s", buf);
  return OK;
}
EXPORT const char *nvmlErrorString(ret code) {
  switch (code) {
  case OK: return "Success";
  case UNINIT: return "Uninitialized";
  case BAD_ARG: return "Invalid Argument";
  case NOT_SUPPORTED: return "Not Supported";
  case NOT_FOUND: return "Not Found";
  case SMALL: return "Insufficient Size";
  case LOST: return "GPU is lost";
  default: return "Fake error";
  }
}

/* Finding devices */
static ret count(u32 *n) { *n = c.gpus; return OK; }
EXPORT ret nvmlDeviceGetCount(u32 *n) { ENTER(); return count(n); }
EXPORT ret nvmlDeviceGetCount_v2(u32 *n) { ENTER(); return count(n); }
static ret by_index(u32 i, void **h, const char *fn) {
  ret f = fails_for(fn, i);
  if (i >= c.gpus) return BAD_ARG;
  if (f) return f;
  *h = &gpu_slot[i];
  return c.gpu[i].lost ? LOST : OK;
}
EXPORT ret nvmlDeviceGetHandleByIndex(u32 i, void **h) { ENTER(); return by_index(i, h, __func__); }
EXPORT ret nvmlDeviceGetHandleByIndex_v2(u32 i, void **h) { ENTER(); return by_index(i, h, __func__); }
EXPORT ret nvmlDeviceGetHandleByUUID(const char *uuid, void **h) {
  ENTER();
  for (u32 i = 0; i < c.gpus; i++)
    if (!strcmp(c.gpu[i].uuid, uuid)) return by_index(i, h, __func__);
  for (u32 i = 0; i < c.migs; i++)
    if (!strcmp(c.mig[i].uuid, uuid)) { *h = &mig_slot[i]; return OK; }
  return NOT_FOUND;
}
static void bus_id(const gpu_t *g, char *s, size_t n) { snprintf(s, n, "%08X:%02X:%02X.0", g->domain, g->bus, g->slot); }
EXPORT ret nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **h) {
  u32 d, b, s;
  ENTER();
  if (sscanf(id, "%x:%x:%x", &d, &b, &s) != 3) return BAD_ARG;
  for (u32 i = 0; i < c.gpus; i++)
    if (c.gpu[i].domain == d && c.gpu[i].bus == b && c.gpu[i].slot == s) return by_index(i, h, __func__);
  return NOT_FOUND;
}

/* Identity */
EXPORT ret nvmlDeviceGetName(void *h, char *s, u32 n) { DEVICE(g, h); return put(s, n, g->name); }
EXPORT ret nvmlDeviceGetUUID(void *h, char *s, u32 n) { DEVICE(g, h); return put(s, n, g->uuid); }
EXPORT ret nvmlDeviceGetSerial(void *h, char *s, u32 n) { WHOLE(g, h); (void)g; return put(s, n, "0000000000000"); }
EXPORT ret nvmlDeviceGetIndex(void *h, u32 *v) { DEVICE(g, h); *v = g->index; return OK; }
EXPORT ret nvmlDeviceGetMinorNumber(void *h, u32 *v) { WHOLE(g, h); *v = g->minor; return OK; }
EXPORT ret nvmlDeviceGetBrand(void *h, u32 *v) { DEVICE(g, h); *v = 14; return OK; }
EXPORT ret nvmlDeviceGetArchitecture(void *h, u32 *v) { DEVICE(g, h); *v = (u32)g->major; return OK; }
EXPORT ret nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { DEVICE(g, h); *a = g->major, *b = g->minor_cc; return OK; }
static ret pci(void *h, pci_t *p, const char *fn) {
  ret r = enter(fn, 1);
  gpu_t *g = r ? NULL : slot(h);
  if (r) return r;
  if (!g) return BAD_ARG;
  if (g->lost) return LOST;
  memset(p, 0, sizeof *p);
  p->domain = g->domain, p->bus = g->bus, p->device = g->slot;
  p->id = 0x233010de;
  bus_id(g, p->bus_id, sizeof p->bus_id);
  snprintf(p->bus_legacy, sizeof p->bus_legacy, "%04X:%02X:%02X.0", g->domain & 0xffff, g->bus & 0xff, g->slot & 0xff);
  return OK;
}
EXPORT ret nvmlDeviceGetPciInfo_v2(void *h, pci_t *p) { return pci(h, p, __func__); }
EXPORT ret nvmlDeviceGetPciInfo_v3(void *h, pci_t *p) { return pci(h, p, __func__); }

/* State */
EXPORT ret nvmlDeviceGetMemoryInfo(void *h, mem_t *m) {
  DEVICE(g, h);
  /* The first version counts the reserved part as used. */
  m->total = g->total, m->used = g->used + g->reserved, m->free = m->total - m->used;
  return OK;
}
EXPORT ret nvmlDeviceGetMemoryInfo_v2(void *h, mem2_t *m) {
  DEVICE(g, h);
  if (m->version != (sizeof(mem2_t) | 2u << 24)) return BAD_VERSION;
  m->total = g->total, m->used = g->used, m->reserved = g->reserved;
  m->free = m->total - m->used - m->reserved;
  return OK;
}
EXPORT ret nvmlDeviceGetUtilizationRates(void *h, util_t *u) { WHOLE(g, h); u->gpu = g->util, u->memory = g->memutil; return OK; }
EXPORT ret nvmlDeviceGetTemperature(void *h, u32 sensor, u32 *v) { WHOLE(g, h); if (sensor) return BAD_ARG; *v = g->temp; return OK; }
EXPORT ret nvmlDeviceGetTemperatureV(void *h, temp_t *t) { WHOLE(g, h); t->value = (int)g->temp; return OK; }
EXPORT ret nvmlDeviceGetPowerUsage(void *h, u32 *v) { WHOLE(g, h); *v = g->power; return OK; }
EXPORT ret nvmlDeviceGetPowerManagementLimit(void *h, u32 *v) { WHOLE(g, h); *v = g->limit; return OK; }
EXPORT ret nvmlDeviceGetEnforcedPowerLimit(void *h, u32 *v) { WHOLE(g, h); *v = g->limit; return OK; }
EXPORT ret nvmlDeviceGetTotalEnergyConsumption(void *h, u64 *v) { WHOLE(g, h); *v = (u64)time(NULL) * g->power; return OK; }
static ret clock_of(const gpu_t *g, u32 type, u32 *v) { if (type > 3) return BAD_ARG; *v = type == 2 ? g->memclk : g->sm; return OK; }
EXPORT ret nvmlDeviceGetClockInfo(void *h, u32 type, u32 *v) { WHOLE(g, h); return clock_of(g, type, v); }
EXPORT ret nvmlDeviceGetMaxClockInfo(void *h, u32 type, u32 *v) { WHOLE(g, h); return clock_of(g, type, v); }
EXPORT ret nvmlDeviceGetPerformanceState(void *h, u32 *v) { WHOLE(g, h); *v = g->util ? 0 : 8; return OK; }
EXPORT ret nvmlDeviceGetPersistenceMode(void *h, u32 *v) { WHOLE(g, h); *v = 1; return OK; }
EXPORT ret nvmlDeviceGetComputeMode(void *h, u32 *v) { WHOLE(g, h); *v = 0; return OK; }
EXPORT ret nvmlDeviceGetFanSpeed(void *h, u32 *v) { (void)v; WHOLE(g, h); return NOT_SUPPORTED; }
EXPORT ret nvmlDeviceGetTotalEccErrors(void *h, u32 kind, u32 counter, u64 *v) { WHOLE(g, h); *v = kind == 1 && counter == 0 ? g->ecc : 0; return OK; }

/* Processes: the caller gives the room in *n, and a null list asks how many. */
static ret procs(void *h, u32 *n, void *out, char type, int version, const char *fn) {
  ret r = enter(fn, 1);
  gpu_t *g = r ? NULL : slot(h);
  u32 room = *n, k = 0;
  if (r) return r;
  if (!g) return BAD_ARG;
  if (g->lost) return LOST;
  u32 id = card(g);
  if ((r = fails_for(fn, id))) return r;
  for (u32 i = 0; i < c.procs; i++) {
    proc_t *p = &c.proc[i];
    if (p->gpu != id || p->type != type) continue;
    if (g->parent >= 0 && p->gi != (int)g->gi) continue;
    if (k < room && out) {
      if (version == 1) ((proc1_t *)out)[k] = (proc1_t){p->pid, p->mem};
      else ((proc2_t *)out)[k] = (proc2_t){p->pid, p->mem, (u32)p->gi, p->gi < 0 ? 0xffffffffu : 0};
    }
    k++;
  }
  *n = k;
  return k > room || (k && !out) ? SMALL : OK;
}
EXPORT ret nvmlDeviceGetComputeRunningProcesses(void *h, u32 *n, void *o) { return procs(h, n, o, 'C', 1, __func__); }
EXPORT ret nvmlDeviceGetComputeRunningProcesses_v2(void *h, u32 *n, void *o) { return procs(h, n, o, 'C', 2, __func__); }
EXPORT ret nvmlDeviceGetComputeRunningProcesses_v3(void *h, u32 *n, void *o) { return procs(h, n, o, 'C', 3, __func__); }
EXPORT ret nvmlDeviceGetGraphicsRunningProcesses(void *h, u32 *n, void *o) { return procs(h, n, o, 'G', 1, __func__); }
EXPORT ret nvmlDeviceGetGraphicsRunningProcesses_v2(void *h, u32 *n, void *o) { return procs(h, n, o, 'G', 2, __func__); }
EXPORT ret nvmlDeviceGetGraphicsRunningProcesses_v3(void *h, u32 *n, void *o) { return procs(h, n, o, 'G', 3, __func__); }
EXPORT ret nvmlDeviceGetMPSComputeRunningProcesses_v3(void *h, u32 *n, void *o) { return procs(h, n, o, 'M', 3, __func__); }
EXPORT ret nvmlDeviceGetProcessUtilization(void *h, sample_t *out, u32 *n, u64 since) {
  u32 k = 0, room = *n;
  u64 now = (u64)time(NULL) * 1000000;
  WHOLE(g, h);
  for (u32 i = 0; i < c.procs; i++) {
    if (c.proc[i].gpu != g->index || now <= since) continue;
    if (out && k < room) out[k] = (sample_t){c.proc[i].pid, now, c.proc[i].sm, 0, 0, 0};
    k++;
  }
  *n = k;
  if (!k) return NOT_FOUND;
  return !out || k > room ? SMALL : OK;
}

/* Topology */
EXPORT ret nvmlDeviceGetTopologyCommonAncestor(void *h, void *h2, u32 *level) {
  WHOLE(a, h);
  gpu_t *b = slot(h2);
  if (!b) return BAD_ARG;
  *level = a == b ? 0 : a->numa == b->numa ? 30 : 50;
  for (u32 i = 0; i < c.topos; i++) {
    topo_t *t = &c.topo[i];
    if ((t->a == a->index && t->b == b->index) || (t->b == a->index && t->a == b->index)) *level = t->level;
  }
  return OK;
}
EXPORT ret nvmlDeviceGetP2PStatus(void *h, void *h2, u32 what, u32 *status) {
  WHOLE(a, h);
  gpu_t *b = slot(h2);
  if (!b) return BAD_ARG;
  *status = a->numa == b->numa ? 0 : 5;
  if (what == 2) { /* over NVLink */
    *status = c.sw[a->index] && c.sw[b->index] ? 0 : 5;
    for (u32 i = 0; i < c.links; i++)
      if ((c.link[i].a == a->index && c.link[i].b == b->index) || (c.link[i].b == a->index && c.link[i].a == b->index)) *status = 0;
  }
  return OK;
}
/* The GPU at the far end of a link, -2 for a switch, or -1: links are numbered
 * in file order, those to a switch last. */
static int far_end(const gpu_t *g, u32 link) {
  u32 at = 0;
  for (u32 i = 0; i < c.links; i++) {
    link_t *l = &c.link[i];
    if (l->a != g->index && l->b != g->index) continue;
    if (link < at + l->n) return (int)(l->a == g->index ? l->b : l->a);
    at += l->n;
  }
  if (link < at + c.sw[g->index]) return -2;
  return -1;
}
EXPORT ret nvmlDeviceGetNvLinkState(void *h, u32 link, u32 *active) {
  WHOLE(g, h);
  if (link >= MAX_LINK) return BAD_ARG;
  if (!c.links && !c.switches) return NOT_SUPPORTED;
  *active = far_end(g, link) != -1;
  return OK;
}
EXPORT ret nvmlDeviceGetNvLinkVersion(void *h, u32 link, u32 *v) { WHOLE(g, h); if (far_end(g, link) == -1) return NOT_SUPPORTED; *v = 4; return OK; }
EXPORT ret nvmlDeviceGetNvLinkRemotePciInfo_v2(void *h, u32 link, pci_t *p) {
  WHOLE(g, h);
  int far = far_end(g, link);
  if (far == -2) {
    memset(p, 0, sizeof *p);
    p->bus = 0xf0, p->id = 0x22a310de;
    snprintf(p->bus_id, sizeof p->bus_id, "00000000:F0:00.0");
    return OK;
  }
  if (far < 0 || (u32)far >= c.gpus) return NOT_SUPPORTED;
  return pci(&gpu_slot[far], p, __func__);
}
EXPORT ret nvmlDeviceGetNvLinkRemoteDeviceType(void *h, u32 link, u32 *v) { WHOLE(g, h); int far = far_end(g, link); if (far == -1) return NOT_SUPPORTED; *v = far == -2 ? 2 : 0; return OK; }
EXPORT ret nvmlDeviceGetNumaNodeId(void *h, u32 *v) { WHOLE(g, h); *v = (u32)g->numa; return OK; }
EXPORT ret nvmlDeviceGetMemoryAffinity(void *h, u32 n, unsigned long *set, u32 scope) {
  (void)scope;
  WHOLE(g, h);
  memset(set, 0, n * sizeof *set);
  if ((u32)g->numa / (8 * sizeof *set) < n) set[(u32)g->numa / (8 * sizeof *set)] |= 1ul << ((u32)g->numa % (8 * sizeof *set));
  return OK;
}
EXPORT ret nvmlDeviceGetCpuAffinity(void *h, u32 n, unsigned long *set) {
  WHOLE(g, h);
  (void)g;
  memset(set, 0, n * sizeof *set);
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  for (u32 i = 0; i < (u32)cpus && i < n * 8 * sizeof *set; i++) set[i / (8 * sizeof *set)] |= 1ul << (i % (8 * sizeof *set));
  return OK;
}

/* MIG */
EXPORT ret nvmlDeviceGetMigMode(void *h, u32 *now, u32 *pending) { WHOLE(g, h); *now = *pending = g->mig; return OK; }
EXPORT ret nvmlDeviceGetMaxMigDeviceCount(void *h, u32 *n) { DEVICE(g, h); *n = g->parent < 0 && g->mig ? 7 : 0; return OK; }
EXPORT ret nvmlDeviceIsMigDeviceHandle(void *h, u32 *v) { DEVICE(g, h); *v = g->parent >= 0; return OK; }
EXPORT ret nvmlDeviceGetMigDeviceHandleByIndex(void *h, u32 i, void **out) {
  WHOLE(g, h);
  for (u32 k = 0; k < c.migs; k++)
    if (c.mig[k].parent == (int)g->index && i-- == 0) { *out = &mig_slot[k]; return OK; }
  return NOT_FOUND;
}
EXPORT ret nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *h, void **out) {
  DEVICE(g, h);
  if (g->parent < 0) return BAD_ARG;
  *out = &gpu_slot[g->parent];
  return OK;
}
EXPORT ret nvmlDeviceGetGpuInstanceId(void *h, u32 *v) { DEVICE(g, h); if (g->parent < 0) return NOT_SUPPORTED; *v = g->gi; return OK; }
EXPORT ret nvmlDeviceGetComputeInstanceId(void *h, u32 *v) { DEVICE(g, h); if (g->parent < 0) return NOT_SUPPORTED; *v = g->ci; return OK; }
EXPORT ret nvmlDeviceGetAttributes_v2(void *h, attrs_t *a) {
  DEVICE(g, h);
  memset(a, 0, sizeof *a);
  a->gi_slices = a->ci_slices = g->slices, a->mem_mb = g->total >> 20, a->sms = 16 * g->slices;
  return OK;
}

/* Events: each set is told of each 'xid' line once. */
typedef struct { u32 seen; u64 gpus; } set_t;
EXPORT ret nvmlEventSetCreate(void **s) { ENTER(); *s = calloc(1, sizeof(set_t)); return *s ? OK : 999; }
EXPORT ret nvmlEventSetFree(void *s) { ENTER(); free(s); return OK; }
EXPORT ret nvmlDeviceGetSupportedEventTypes(void *h, u64 *v) { WHOLE(g, h); *v = 0x1f; return OK; }
EXPORT ret nvmlDeviceRegisterEvents(void *h, u64 types, void *s) {
  WHOLE(g, h);
  if (types & 8) ((set_t *)s)->gpus |= 1ull << g->index; /* XID errors */
  return OK;
}
EXPORT ret nvmlEventSetWait_v2(void *s, event_t *e, u32 ms) {
  set_t *set = s;
  ENTER();
  for (u32 waited = 0;; waited += 20) {
    load();
    while (set->seen < c.xids) {
      xid_t *x = &c.xid[set->seen++];
      if (x->gpu >= c.gpus || !(set->gpus >> x->gpu & 1)) continue;
      *e = (event_t){&gpu_slot[x->gpu], 8, x->code, 0xffffffffu, 0xffffffffu};
      return OK;
    }
    if (waited >= ms) return TIMEOUT;
    usleep(20000);
  }
}

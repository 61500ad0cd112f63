/*
 * Goes through the whole of <corosync/cmap.h> and prints what every call answered and every callback
 * brought, so that the output against two executives can be compared byte for byte:
 *
 *     cmap_conformance alone             all of it, as root
 *     cmap_conformance orphan            prints `waiting` and goes on when the executive has ended
 *
 * Libraries: cmap
 *
 * Handles, process ids and addresses differ from run to run and are not printed.  Left out: reading a key
 * that was deleted while an iterator stands on it (stock keeps it until the iterator moves on), types
 * that do not exist (stock stores an empty value of any type), and deleting totem.config_version (stock
 * still reads the old one while it goes, and tells the ring that).
 */
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <corosync/cmap.h>

#include "conformance.h"

#define VALUE_MAX 16384

static unsigned long events;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fflush(stdout);
}

static cmap_handle_t open_map(cmap_map_t map)
{
	cmap_handle_t handle;
	cs_error_t error = PATIENTLY(cmap_initialize_map(&handle, map));

	if (error != CS_OK) {
		say("FAILED: no connection: %s\n", error_name(error));
		exit(1);
	}
	return handle;
}

/* Every number from 3 digits on that stands between dots is a process id, what begins with 0x an address. */
static const char *masked(const char *key)
{
	static char text[CMAP_KEYNAME_MAXLEN + 1];
	char *to = text;

	while (*key != '\0') {
		const char *end = key + strcspn(key, ".");
		size_t length = (size_t)(end - key);

		if ((length >= 3 && strspn(key, "0123456789") == length) || strncmp(key, "0x", 2) == 0)
			*to++ = '*';
		else {
			memcpy(to, key, length);
			to += length;
		}
		if (*end == '.')
			*to++ = *end++;
		key = end;
	}
	*to = '\0';
	return text;
}

static void print_value(const char *label, const void *data, size_t size, int type)
{
	const unsigned char *bytes = data;

	say(" %s=%d/%zu:", label, type, size);
	for (size_t i = 0; i < size && i < 24; i++)
		say("%02x", bytes[i]);
}

static void show(cmap_handle_t handle, const char *key)
{
	unsigned char value[VALUE_MAX + 1];
	size_t size = sizeof value, asked = 0;
	cmap_value_types_t type = 0;
	cs_error_t error = cmap_get(handle, key, NULL, &asked, &type);

	say("  %.60s: %s", key, error_name(error));
	if (error == CS_OK) {
		memset(value, 0xee, sizeof value);
		error = cmap_get(handle, key, value, &size, &type);
		say(" %zu %s", asked, error_name(error));
		if (error == CS_OK)
			print_value("value", value, size, type);
	}
	say("\n");
}

static void notified(cmap_handle_t handle, cmap_track_handle_t track, int32_t event, const char *key,
		     struct cmap_notify_value new_value, struct cmap_notify_value old_value, void *user_data)
{
	(void)handle;
	(void)track;
	say("  event [%s] %d %.80s", (const char *)user_data, event, masked(key));
	print_value("new", new_value.data, new_value.len, new_value.type);
	print_value("old", old_value.data, old_value.len, old_value.type);
	say("\n");
	events++;
}

/* Values of statistics depend on the moment. */
static void notified_of_key(cmap_handle_t handle, cmap_track_handle_t track, int32_t event, const char *key,
			    struct cmap_notify_value new_value, struct cmap_notify_value old_value,
			    void *user_data)
{
	(void)handle;
	(void)track;
	say("  event [%s] %d %.80s new=%d/%zu old=%d/%zu same=%d\n", (const char *)user_data, event, masked(key),
	    new_value.type, new_value.len, old_value.type, old_value.len,
	    new_value.len == old_value.len && memcmp(new_value.data, old_value.data, new_value.len) == 0);
	events++;
}

/* A callback that changes what it is told of. */
static void meddles(cmap_handle_t handle, cmap_track_handle_t track, int32_t event, const char *key,
		    struct cmap_notify_value new_value, struct cmap_notify_value old_value, void *user_data)
{
	notified(handle, track, event, key, new_value, old_value, user_data);
	if (event == CMAP_TRACK_ADD)
		CHECK(cmap_set_uint8(handle, key, 99));
}

static void life(void)
{
	cmap_handle_t handle = 0, never = 4711;
	cmap_iter_handle_t iter = 0;
	cmap_track_handle_t track = 0;
	const void *context = NULL;
	char *text = NULL;
	size_t size = 0;
	cmap_value_types_t type;
	int fd = -1;
	int8_t i8;
	uint8_t u8;
	int16_t i16;
	uint16_t u16;
	int32_t i32;
	uint32_t u32;
	int64_t i64;
	uint64_t u64;
	float f;
	double d;
	char name[CMAP_KEYNAME_MAXLEN + 1];

	say("== life\n");
	handle = open_map(CMAP_MAP_DEFAULT);
	cmap_finalize(handle);
	CHECK(cmap_initialize(&handle));
	CHECK(cmap_fd_get(handle, &fd));
	say("descriptor %s\n", fd >= 0 ? "there" : "missing");
	CHECK(cmap_context_set(handle, "context"));
	CHECK(cmap_context_get(handle, &context));
	say("context %s\n", (const char *)context);
	CHECK(cmap_finalize(handle));
	CHECK(cmap_finalize(handle));
	CHECK(cmap_initialize_map(&handle, CMAP_MAP_ICMAP));
	CHECK(cmap_finalize(handle));
	CHECK(cmap_initialize_map(&handle, CMAP_MAP_STATS));
	CHECK(cmap_finalize(handle));
	CHECK(cmap_initialize_map(&handle, (cmap_map_t)7));
	CHECK(cmap_finalize(handle));

	CHECK(cmap_fd_get(never, &fd));
	CHECK(cmap_dispatch(never, CS_DISPATCH_ALL));
	CHECK(cmap_context_get(never, &context));
	CHECK(cmap_context_set(never, NULL));
	CHECK(cmap_set(never, "test.a", "x", 1, CMAP_VALUETYPE_STRING));
	CHECK(cmap_set_int8(never, "test.a", 1));
	CHECK(cmap_set_uint8(never, "test.a", 1));
	CHECK(cmap_set_int16(never, "test.a", 1));
	CHECK(cmap_set_uint16(never, "test.a", 1));
	CHECK(cmap_set_int32(never, "test.a", 1));
	CHECK(cmap_set_uint32(never, "test.a", 1));
	CHECK(cmap_set_int64(never, "test.a", 1));
	CHECK(cmap_set_uint64(never, "test.a", 1));
	CHECK(cmap_set_float(never, "test.a", 1));
	CHECK(cmap_set_double(never, "test.a", 1));
	CHECK(cmap_set_string(never, "test.a", "x"));
	CHECK(cmap_delete(never, "test.a"));
	CHECK(cmap_get(never, "test.a", NULL, &size, &type));
	CHECK(cmap_get_int8(never, "test.a", &i8));
	CHECK(cmap_get_uint8(never, "test.a", &u8));
	CHECK(cmap_get_int16(never, "test.a", &i16));
	CHECK(cmap_get_uint16(never, "test.a", &u16));
	CHECK(cmap_get_int32(never, "test.a", &i32));
	CHECK(cmap_get_uint32(never, "test.a", &u32));
	CHECK(cmap_get_int64(never, "test.a", &i64));
	CHECK(cmap_get_uint64(never, "test.a", &u64));
	CHECK(cmap_get_float(never, "test.a", &f));
	CHECK(cmap_get_double(never, "test.a", &d));
	CHECK(cmap_get_string(never, "test.a", &text));
	CHECK(cmap_inc(never, "test.a"));
	CHECK(cmap_dec(never, "test.a"));
	CHECK(cmap_iter_init(never, NULL, &iter));
	CHECK(cmap_iter_next(never, iter, name, &size, &type));
	CHECK(cmap_iter_finalize(never, iter));
	CHECK(cmap_track_add(never, "test.a", CMAP_TRACK_ADD, notified, NULL, &track));
	CHECK(cmap_track_delete(never, track));
}

static void parameters(cmap_handle_t handle)
{
	char longest[CMAP_KEYNAME_MAXLEN + 2], longer[CMAP_KEYNAME_MAXLEN + 3];
	static char big[VALUE_MAX + 2];
	cmap_track_handle_t track;
	size_t size;

	say("== parameters\n");
	memset(longest, 'k', sizeof longest);
	longest[255] = '\0';
	memset(longer, 'k', sizeof longer);
	longer[256] = '\0';
	memset(big, 'b', sizeof big);

	CHECK(cmap_set(handle, NULL, "x", 1, CMAP_VALUETYPE_STRING));
	CHECK(cmap_set(handle, "test.a", NULL, 1, CMAP_VALUETYPE_STRING));
	CHECK(cmap_set_string(handle, "test.a", NULL));
	CHECK(cmap_get(handle, NULL, NULL, &size, NULL));
	CHECK(cmap_get(handle, "test.a", big, NULL, NULL));
	CHECK(cmap_delete(handle, NULL));
	CHECK(cmap_inc(handle, NULL));
	CHECK(cmap_iter_init(handle, NULL, NULL));
	CHECK(cmap_track_add(handle, "test.a", CMAP_TRACK_ADD, NULL, NULL, &track));
	CHECK(cmap_track_add(handle, "test.a", CMAP_TRACK_ADD, notified, NULL, NULL));
	CHECK(cmap_track_add(handle, "test.a", 16, notified, NULL, &track));
	CHECK(cmap_track_add(handle, "test.a", 0x40000004, notified, NULL, &track));
	CHECK(cmap_track_delete(handle, 12345));

	say("-- names\n");
	CHECK(cmap_set_uint8(handle, "", 1));
	CHECK(cmap_set_uint8(handle, "ab", 1));
	CHECK(cmap_set_uint8(handle, "abc", 1));
	CHECK(cmap_set_uint8(handle, longest, 1));
	CHECK(cmap_set_uint8(handle, longer, 1));
	CHECK(cmap_get(handle, longer, NULL, &size, NULL));
	CHECK(cmap_delete(handle, longer));
	CHECK(cmap_inc(handle, longer));
	CHECK(cmap_set_uint8(handle, "test.azAZ09._-/:", 1));
	for (const char *bad = " !\"#$%&'()*+,;<=>?@[\\]^`{|}~\x01\x7f\x80\xff"; *bad != '\0'; bad++) {
		char key[] = "test._";

		key[5] = *bad;
		say("key with %02x: %s\n", (unsigned char)*bad, error_name(cmap_set_uint8(handle, key, 1)));
	}
	CHECK(cmap_delete(handle, "abc"));
	CHECK(cmap_delete(handle, longest));
	CHECK(cmap_delete(handle, "test.azAZ09._-/:"));
	CHECK(cmap_delete(handle, "ab"));

	say("-- sizes\n");
	for (int type = CMAP_VALUETYPE_INT8; type <= CMAP_VALUETYPE_DOUBLE; type++)
		for (size_t length = 0; length <= 9; length++) {
			cs_error_t error = cmap_set(handle, "test.size", big, length, (cmap_value_types_t)type);

			if (error != CS_ERR_INVALID_PARAM)
				say("type %d with %zu bytes: %s\n", type, length, error_name(error));
		}
	CHECK(cmap_set(handle, "test.size", big, VALUE_MAX, CMAP_VALUETYPE_BINARY));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "test.size", big, VALUE_MAX + 1, CMAP_VALUETYPE_BINARY));
	CHECK(cmap_set(handle, "test.size", big, VALUE_MAX - 1, CMAP_VALUETYPE_STRING));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "test.size", big, VALUE_MAX + 1, CMAP_VALUETYPE_STRING));
	CHECK(cmap_set(handle, "test.size", "", 0, CMAP_VALUETYPE_BINARY));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "test.size", "abc\0def", 7, CMAP_VALUETYPE_BINARY));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "test.size", "abc\0def", 3, CMAP_VALUETYPE_STRING));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "test.size", "abc\0def", 4, CMAP_VALUETYPE_STRING));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "test.size", "abc\0def", 5, CMAP_VALUETYPE_STRING));
	CHECK(cmap_set(handle, "test.size", "abcdef", 2, CMAP_VALUETYPE_STRING));
	show(handle, "test.size");
	CHECK(cmap_set_string(handle, "test.size", ""));
	show(handle, "test.size");
	CHECK(cmap_set(handle, "ab", big, VALUE_MAX + 1, CMAP_VALUETYPE_BINARY));
	CHECK(cmap_delete(handle, "test.size"));
}

static void values(cmap_handle_t handle)
{
	static const char *const keys[] = { "test.i8", "test.u8", "test.i16", "test.u16", "test.i32", "test.u32",
		"test.i64", "test.u64", "test.f", "test.d", "test.s", "test.b", NULL };
	int8_t i8 = 0;
	uint8_t u8 = 0;
	int16_t i16 = 0;
	uint16_t u16 = 0;
	int32_t i32 = 0;
	uint32_t u32 = 0;
	int64_t i64 = 0;
	uint64_t u64 = 0;
	float f = 0;
	double d = 0;
	char *text = NULL;
	char room[64];
	size_t size;
	cmap_value_types_t type;

	say("== values\n");
	CHECK(cmap_set_int8(handle, "test.i8", INT8_MIN));
	CHECK(cmap_set_uint8(handle, "test.u8", UINT8_MAX));
	CHECK(cmap_set_int16(handle, "test.i16", INT16_MIN));
	CHECK(cmap_set_uint16(handle, "test.u16", UINT16_MAX));
	CHECK(cmap_set_int32(handle, "test.i32", INT32_MIN));
	CHECK(cmap_set_uint32(handle, "test.u32", UINT32_MAX));
	CHECK(cmap_set_int64(handle, "test.i64", INT64_MIN));
	CHECK(cmap_set_uint64(handle, "test.u64", UINT64_MAX));
	CHECK(cmap_set_float(handle, "test.f", 1.5F));
	CHECK(cmap_set_double(handle, "test.d", -2.25));
	CHECK(cmap_set_string(handle, "test.s", "text"));
	CHECK(cmap_set(handle, "test.b", "\0\1\2\3\0", 5, CMAP_VALUETYPE_BINARY));
	for (int i = 0; keys[i] != NULL; i++) {
		say("-- %s\n", keys[i]);
		show(handle, keys[i]);
		CHECK(cmap_get_int8(handle, keys[i], &i8));
		CHECK(cmap_get_uint8(handle, keys[i], &u8));
		CHECK(cmap_get_int16(handle, keys[i], &i16));
		CHECK(cmap_get_uint16(handle, keys[i], &u16));
		CHECK(cmap_get_int32(handle, keys[i], &i32));
		CHECK(cmap_get_uint32(handle, keys[i], &u32));
		CHECK(cmap_get_int64(handle, keys[i], &i64));
		CHECK(cmap_get_uint64(handle, keys[i], &u64));
		CHECK(cmap_get_float(handle, keys[i], &f));
		CHECK(cmap_get_double(handle, keys[i], &d));
		text = NULL;
		CHECK(cmap_get_string(handle, keys[i], &text));
		if (text != NULL)
			say("string '%s'\n", text);
		free(text);
		CHECK(cmap_inc(handle, keys[i]));
		show(handle, keys[i]);
		CHECK(cmap_dec(handle, keys[i]));
		CHECK(cmap_dec(handle, keys[i]));
		show(handle, keys[i]);
	}
	say("%d %u %d %u %d %u %lld %llu %g %g\n", i8, u8, i16, u16, i32, u32, (long long)i64,
	    (unsigned long long)u64, f, d);

	say("-- room for a value\n");
	for (size_t given = 0; given <= 7; given++) {
		memset(room, '#', sizeof room);
		size = given;
		type = 0;
		say("room for %zu: %s", given,
		    error_name(cmap_get(handle, "test.s", given ? room : NULL, &size, &type)));
		say(" size=%zu type=%d %.5s\n", size, type, room);
	}
	CHECK(cmap_get(handle, "test.s", NULL, NULL, NULL));
	CHECK(cmap_get(handle, "test.none", NULL, NULL, NULL));
	CHECK(cmap_get(handle, "no key at all", NULL, NULL, NULL));
	CHECK(cmap_get_string(handle, "test.none", &text));
	CHECK(cmap_inc(handle, "test.none"));
	CHECK(cmap_dec(handle, "test.none"));
	CHECK(cmap_delete(handle, "test.none"));
	for (int i = 0; keys[i] != NULL; i++)
		CHECK(cmap_delete(handle, keys[i]));
	CHECK(cmap_delete(handle, "test.u8"));
}

static void read_only(cmap_handle_t handle)
{
	static const char *const keys[] = {
		"internal_configuration.service.0.name", "internal_configuration.x", "internal_configuration",
		"runtime.services.cpg.service_id", "runtime.config.totem.token", "runtime.totem.x",
		"uidgid.config.uid.1", "system.x", "nodelist.node.0.nodeid", "nodelist.local_node_pos",
		"totem.crypto_cipher", "totem.crypto_hash", "totem.crypto_model", "totem.keyfile", "totem.key",
		"totem.secauth", "totem.ip_version", "totem.rrp_mode", "totem.transport", "totem.cluster_name",
		"totem.netmtu", "totem.threads", "totem.version", "totem.nodeid", "totem.clear_node_high_bit",
		"config.reload_in_progress", "config.totemconfig_reload_in_progress", "config.reload_status",
		"quorum.allow_downscale", "quorum.wait_for_all", "quorum.last_man_standing",
		"quorum.last_man_standing_window", "quorum.expected_votes_tracking", "quorum.auto_tie_breaker",
		"quorum.auto_tie_breaker_node", "totem.interface.0.x", "runtime.votequorum.x",
		"uidgid.uid.9", "cfg.x", "logging.x", "resources.x", "totem.transportx", NULL };

	say("== read only\n");
	for (int i = 0; keys[i] != NULL; i++) {
		say("%s:", keys[i]);
		say(" set %s", error_name(cmap_set_string(handle, keys[i], "mine")));
		say(" inc %s", error_name(cmap_inc(handle, keys[i])));
		say(" bad size %s", error_name(cmap_set(handle, keys[i], "", 0, CMAP_VALUETYPE_UINT8)));
		say(" delete %s\n", error_name(cmap_delete(handle, keys[i])));
	}
}

static void iterate(cmap_handle_t handle, const char *prefix, int most)
{
	char name[CMAP_KEYNAME_MAXLEN + 1];
	cmap_iter_handle_t iter;
	cmap_value_types_t type;
	size_t size;
	cs_error_t error;

	say("iterate %s\n", prefix);
	CHECK(cmap_iter_init(handle, prefix, &iter));
	for (; most > 0; most--) {
		error = cmap_iter_next(handle, iter, name, &size, &type);
		if (error != CS_OK)
			break;
		say("  %s %zu %d\n", name, size, type);
	}
	say("end %s\n", error_name(error));
	CHECK(cmap_iter_next(handle, iter, name, &size, &type));
	CHECK(cmap_iter_finalize(handle, iter));
	CHECK(cmap_iter_next(handle, iter, name, &size, &type));
	CHECK(cmap_iter_finalize(handle, iter));
}

static void iterations(cmap_handle_t handle)
{
	static const char *const keys[] = { "itest.b", "itest.a", "itest.a.b", "itest.a-b", "itest.a/b", "itest.a:b",
		"itest.a_b", "itest.aB", "itest.a0", "itest.A", "itest.ab", "itest.", "itestament", "itest.z.y.x", NULL };
	char name[CMAP_KEYNAME_MAXLEN + 1], last[CMAP_KEYNAME_MAXLEN + 1] = "";
	cmap_iter_handle_t iter, other;
	int sorted = 1;

	say("== iterations\n");
	for (int i = 0; keys[i] != NULL; i++)
		CHECK(cmap_set_string(handle, keys[i], keys[i]));
	iterate(handle, "itest", 100);
	iterate(handle, "itest.", 100);
	iterate(handle, "itest.a", 100);
	iterate(handle, "itest.z.y", 100);
	iterate(handle, "itest.z.y.x", 100);
	iterate(handle, "itest.z.y.x.w", 100);
	iterate(handle, "none.of.these", 100);
	iterate(handle, "not a key", 100);
	iterate(handle, "totem.v", 100);

	say("-- all\n");
	CHECK(cmap_iter_init(handle, NULL, &iter));
	while (cmap_iter_next(handle, iter, name, NULL, NULL) == CS_OK) {
		sorted = sorted && strcmp(last, name) < 0;
		strcpy(last, name);
	}
	say("sorted %d, last %s\n", sorted, last);
	CHECK(cmap_iter_finalize(handle, iter));

	say("-- two at a time, while keys come and go\n");
	CHECK(cmap_iter_init(handle, "itest.", &iter));
	CHECK(cmap_iter_init(handle, "itest.", &other));
	for (int i = 0; cmap_iter_next(handle, iter, name, NULL, NULL) == CS_OK; i++) {
		say("  %s\n", name);
		if (i == 1) {
			CHECK(cmap_delete(handle, "itest.a.b"));
			CHECK(cmap_set_uint8(handle, "itest.a.c", 1));
			CHECK(cmap_set_uint8(handle, "itest.0", 1));
			CHECK(cmap_iter_next(handle, other, name, NULL, NULL));
			say("  other %s\n", name);
		}
	}
	CHECK(cmap_iter_finalize(handle, iter));
	CHECK(cmap_iter_finalize(handle, other));

	say("-- deleting all\n");
	CHECK(cmap_iter_init(handle, "itest", &iter));
	while (cmap_iter_next(handle, iter, name, NULL, NULL) == CS_OK)
		say("  %s %s\n", name, error_name(cmap_delete(handle, name)));
	CHECK(cmap_iter_finalize(handle, iter));
	iterate(handle, "itest", 100);
}

static void wait_events(cmap_handle_t handle, unsigned long wanted)
{
	int fd;

	cmap_fd_get(handle, &fd);
	for (int waited = 0; events < wanted && waited < PATIENCE_MS; waited += RETRY_MS) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };

		if (poll(&ready, 1, RETRY_MS) > 0)
			cmap_dispatch(handle, CS_DISPATCH_ALL);
	}
	if (events != wanted)
		say("%lu events instead of %lu\n", events, wanted);
	events = 0;
}

static void tracks(cmap_handle_t handle)
{
	cmap_handle_t second = open_map(CMAP_MAP_ICMAP);
	cmap_track_handle_t track[12];
	const int all = CMAP_TRACK_ADD | CMAP_TRACK_MODIFY | CMAP_TRACK_DELETE;

	say("== tracks\n");
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ALL));
	CHECK(cmap_track_add(handle, "track.a", CMAP_TRACK_ADD, notified, "add", &track[0]));
	CHECK(cmap_track_add(handle, "track.a", CMAP_TRACK_MODIFY, notified, "modify", &track[1]));
	CHECK(cmap_track_add(handle, "track.a", CMAP_TRACK_DELETE, notified, "delete", &track[2]));
	CHECK(cmap_track_add(handle, "track.a", all, notified, "all", &track[3]));
	CHECK(cmap_track_add(handle, "track.a", all, notified, "all again", &track[4]));
	CHECK(cmap_track_add(handle, "track.a", all | CMAP_TRACK_PREFIX, notified, "prefix a", &track[5]));
	CHECK(cmap_track_add(handle, "track", all | CMAP_TRACK_PREFIX, notified, "prefix", &track[6]));
	CHECK(cmap_track_add(handle, "tra", all | CMAP_TRACK_PREFIX, notified, "short prefix", &track[7]));
	CHECK(cmap_track_add(handle, "track", all, notified, "no such key", &track[8]));
	CHECK(cmap_track_add(handle, NULL, all, notified, "no key", &track[9]));
	CHECK(cmap_track_add(handle, "track.a", 0, notified, "nothing", &track[10]));
	CHECK(cmap_track_add(handle, "track.a", all | CMAP_TRACK_PREFIX, notified, "prefix a 2", &track[11]));

	say("-- new key\n");
	CHECK(cmap_set_uint8(second, "track.a", 1));
	wait_events(handle, 7);
	say("-- same value\n");
	CHECK(cmap_set_uint8(second, "track.a", 1));
	say("-- other value\n");
	CHECK(cmap_set_uint8(second, "track.a", 2));
	wait_events(handle, 7);
	say("-- other type, by the same connection\n");
	CHECK(cmap_set_string(handle, "track.a", "text"));
	wait_events(handle, 7);
	say("-- no event for what is refused\n");
	CHECK(cmap_inc(second, "track.a"));
	CHECK(cmap_set(second, "track.a", "x", 2, CMAP_VALUETYPE_UINT8));
	say("-- longer key\n");
	CHECK(cmap_set(second, "track.ab", "\1\2\3", 3, CMAP_VALUETYPE_BINARY));
	wait_events(handle, 4);
	CHECK(cmap_delete(second, "track.ab"));
	wait_events(handle, 4);
	say("-- gone\n");
	CHECK(cmap_delete(second, "track.a"));
	wait_events(handle, 7);
	say("-- counting\n");
	CHECK(cmap_set_int16(second, "track.a", -1));
	CHECK(cmap_inc(second, "track.a"));
	CHECK(cmap_dec(second, "track.a"));
	wait_events(handle, 21);
	CHECK(cmap_delete(second, "track.a"));
	wait_events(handle, 7);

	say("-- fewer tracks\n");
	CHECK(cmap_track_delete(handle, track[5]));
	CHECK(cmap_track_delete(handle, track[5]));
	CHECK(cmap_track_delete(handle, track[3]));
	CHECK(cmap_track_delete(handle, track[6]));
	CHECK(cmap_set_uint64(second, "track.a", 3));
	wait_events(handle, 4);
	CHECK(cmap_delete(second, "track.a"));
	wait_events(handle, 4);
	for (int i = 0; i < 12; i++)
		if (i != 3 && i != 5 && i != 6)
			CHECK(cmap_track_delete(handle, track[i]));
	CHECK(cmap_set_uint64(second, "track.a", 3));
	CHECK(cmap_delete(second, "track.a"));
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));

	say("-- everything\n");
	CHECK(cmap_track_add(handle, NULL, CMAP_TRACK_ADD | CMAP_TRACK_PREFIX, notified, "every key", &track[0]));
	CHECK(cmap_set_uint8(second, "some.key", 1));
	wait_events(handle, 1);
	CHECK(cmap_track_delete(handle, track[0]));
	CHECK(cmap_delete(second, "some.key"));

	say("-- a callback that changes the key\n");
	CHECK(cmap_track_add(handle, "track.m", all, meddles, "meddler", &track[0]));
	CHECK(cmap_set_uint8(second, "track.m", 1));
	wait_events(handle, 2);
	CHECK(cmap_delete(second, "track.m"));
	wait_events(handle, 1);

	say("-- one event at a time\n");
	CHECK(cmap_set_uint8(second, "track.m", 1));
	CHECK(cmap_set_uint8(second, "track.m", 2));
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ONE));
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ONE));
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	events = 0;
	say("-- a track of another connection\n");
	CHECK(cmap_track_delete(second, track[0]));
	CHECK(cmap_delete(second, "track.m"));
	wait_events(handle, 1);
	CHECK(cmap_finalize(second));
}

static void maintained(cmap_handle_t handle)
{
	static const char *const keys[] = {
		"internal_configuration.service.0.name", "internal_configuration.service.0.ver",
		"internal_configuration.service.5.name", "runtime.services.cpg.service_id",
		"runtime.services.cmap.service_id", "runtime.services.cfg.4.rx", "runtime.services.votequorum.3.tx",
		"runtime.members.1.ip", "runtime.members.1.join_count", "runtime.members.1.status",
		"runtime.members.1.config_version", "runtime.members.2.ip", "nodelist.local_node_pos",
		"nodelist.node.0.nodeid", "nodelist.node.0.name", "runtime.force_gather",
		"runtime.blackbox.dump_state", "runtime.blackbox.dump_flight_data", "totem.version", "totem.token",
		"totem.cluster_name", "totem.transport", "totem.interface.0.bindnetaddr", "quorum.provider",
		"runtime.config.totem.token", "runtime.config.totem.hold", "runtime.config.totem.block_unlisted_ips",
		"runtime.config.totem.interface.0.knet_ping_timeout", "logging.timestamp", "config.reload_in_progress",
		NULL };
	cmap_track_handle_t track;

	say("== what the executive maintains\n");
	for (int i = 0; keys[i] != NULL; i++)
		show(handle, keys[i]);
	say("-- a trigger\n");
	CHECK(cmap_track_add(handle, "runtime.force_gather", CMAP_TRACK_MODIFY, notified, "trigger", &track));
	CHECK(cmap_set_string(handle, "runtime.force_gather", "1"));
	wait_events(handle, 2);
	CHECK(cmap_track_delete(handle, track));
	CHECK(cmap_track_add(handle, "runtime.members.1.config_version",
			     CMAP_TRACK_ADD | CMAP_TRACK_MODIFY, notified, "version", &track));
	say("-- another version of the configuration\n");
	CHECK(cmap_set_uint64(handle, "totem.config_version", 12));
	wait_events(handle, 1);
	show(handle, "runtime.members.1.config_version");
	CHECK(cmap_track_delete(handle, track));
}

static void statistics(void)
{
	static const char *const keys[] = {
		"stats.pg.msg_queue_avail", "stats.pg.msg_reserved", "stats.srp.orf_token_tx", "stats.srp.orf_token_rx",
		"stats.srp.memb_merge_detect_tx", "stats.srp.memb_merge_detect_rx", "stats.srp.memb_join_tx",
		"stats.srp.memb_join_rx", "stats.srp.mcast_tx", "stats.srp.mcast_retx", "stats.srp.mcast_rx",
		"stats.srp.memb_commit_token_tx", "stats.srp.memb_commit_token_rx", "stats.srp.token_hold_cancel_tx",
		"stats.srp.token_hold_cancel_rx", "stats.srp.operational_entered", "stats.srp.operational_token_lost",
		"stats.srp.gather_entered", "stats.srp.gather_token_lost", "stats.srp.commit_entered",
		"stats.srp.commit_token_lost", "stats.srp.recovery_entered", "stats.srp.recovery_token_lost",
		"stats.srp.consensus_timeouts", "stats.srp.rx_msg_dropped", "stats.srp.time_since_token_last_received",
		"stats.srp.continuous_gather", "stats.srp.continuous_sendmsg_failures",
		"stats.srp.firewall_enabled_or_nic_failure", "stats.srp.mtt_rx_token", "stats.srp.avg_token_workload",
		"stats.srp.avg_backlog_calc", "stats.ipcs.global.active", "stats.ipcs.global.closed",
		"stats.schedmiss.10.delay", "stats.none", "totem.version", "stats.clear.all", NULL };
	static const char *const clear[] = { "stats.clear.knet", "stats.clear.ipc", "stats.clear.totem",
		"stats.clear.schedmiss", "stats.clear.all", "stats.clear.", "stats.clear.other", "stats.clear.allx",
		"stats.clear", NULL };
	cmap_handle_t handle = open_map(CMAP_MAP_STATS), other;
	cmap_track_handle_t track, second;
	cmap_iter_handle_t iter;
	cmap_value_types_t type;
	char name[CMAP_KEYNAME_MAXLEN + 1], prefix[64], *text = NULL;
	uint64_t number = 0;
	size_t size;

	say("== statistics\n");
	for (int i = 0; keys[i] != NULL; i++) {
		size = 0;
		type = 0;
		say("%s: %s", keys[i], error_name(cmap_get(handle, keys[i], NULL, &size, &type)));
		say(" %zu %d\n", size, type);
	}
	CHECK(cmap_get_uint64(handle, "stats.ipcs.global.active", &number));
	say("%d\n", number >= 1);
	CHECK(cmap_get_uint32(handle, "stats.ipcs.global.active", (uint32_t *)&number));
	CHECK(cmap_get_string(handle, "stats.ipcs.global.active", &text));
	CHECK(cmap_set_uint64(handle, "stats.ipcs.global.active", 1));
	CHECK(cmap_set_uint64(handle, "new.key", 1));
	CHECK(cmap_inc(handle, "stats.ipcs.global.active"));
	CHECK(cmap_delete(handle, "stats.ipcs.global.active"));
	CHECK(cmap_delete(handle, "new.key"));
	CHECK(cmap_delete(handle, "stats.clear.all"));
	CHECK(cmap_inc(handle, "stats.clear.all"));
	iterate(handle, "stats.ipcs.global.active", 10);
	iterate(handle, "stats.pg", 10);
	iterate(handle, "nothing", 10);
	iterate(handle, "runtime", 10);

	say("-- this connection\n");
	snprintf(prefix, sizeof prefix, "stats.ipcs.service0.%d.", (int)getpid());
	CHECK(cmap_iter_init(handle, prefix, &iter));
	while (cmap_iter_next(handle, iter, name, &size, &type) == CS_OK) {
		say("  %s %zu %d", masked(name), size, type);
		size = 0;
		say(" %s", error_name(cmap_get(handle, name, NULL, &size, &type)));
		say(" %zu %d\n", size, type);
		if (type == CMAP_VALUETYPE_STRING) {
			CHECK(cmap_get_string(handle, name, &text));
			say("  %s\n", text);
		}
	}
	CHECK(cmap_iter_finalize(handle, iter));

	say("-- clearing\n");
	for (int i = 0; clear[i] != NULL; i++)
		say("%s: %s\n", clear[i], error_name(cmap_set_uint32(handle, clear[i], 1)));
	CHECK(cmap_set_string(handle, "stats.clear.totem", "yes"));
	CHECK(cmap_get_uint64(handle, "stats.srp.gather_entered", &number));
	say("%llu\n", (unsigned long long)number);
	CHECK(cmap_get_uint64(handle, "stats.ipcs.global.closed", &number));
	say("%llu\n", (unsigned long long)number);

	say("-- tracks\n");
	CHECK(cmap_track_add(handle, "stats.ipcs.", CMAP_TRACK_ADD | CMAP_TRACK_PREFIX, notified_of_key, "x", &track));
	CHECK(cmap_track_add(handle, "stats.ipcs.", CMAP_TRACK_DELETE | CMAP_TRACK_PREFIX, notified_of_key, "x", &track));
	CHECK(cmap_track_add(handle, "stats.ipcs.", CMAP_TRACK_MODIFY | CMAP_TRACK_PREFIX, notified_of_key, "x", &track));
	CHECK(cmap_track_add(handle, "stats.ipcs.", CMAP_TRACK_ADD | CMAP_TRACK_DELETE | CMAP_TRACK_PREFIX,
			     notified_of_key, "connections", &track));
	other = open_map(CMAP_MAP_ICMAP);
	wait_events(handle, 13);
	say("-- gone\n");
	CHECK(cmap_finalize(other));
	wait_events(handle, 13);
	CHECK(cmap_track_delete(handle, track));
	say("-- a value\n");
	CHECK(cmap_track_add(handle, "stats.srp.none", CMAP_TRACK_MODIFY, notified_of_key, "no key", &second));
	CHECK(cmap_track_add(handle, "stats.ipcs.global.active", CMAP_TRACK_MODIFY, notified_of_key, "value", &track));
	other = open_map(CMAP_MAP_ICMAP);
	wait_events(handle, 1);
	CHECK(cmap_finalize(other));
	wait_events(handle, 1);
	CHECK(cmap_track_delete(handle, track));
	CHECK(cmap_track_delete(handle, track));
	CHECK(cmap_track_delete(handle, second));
	CHECK(cmap_finalize(handle));
}

/* What a process with these ids is told when it connects. */
static void connect_as(uid_t uid, gid_t gid)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		cmap_handle_t handle;

		if (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0)
			_exit(1);
		say("user %u group %u: %s\n", uid, gid, error_name(cmap_initialize(&handle)));
		_exit(0);
	}
	waitpid(child, &status, 0);
}

static void access_control(cmap_handle_t handle)
{
	say("== access\n");
	connect_as(65534, 65534);
	connect_as(65534, 0);
	CHECK(cmap_set_uint8(handle, "uidgid.uid.65534", 1));
	connect_as(65534, 65534);
	connect_as(65533, 65534);
	CHECK(cmap_set_uint8(handle, "uidgid.uid.65534", 2));
	connect_as(65534, 65534);
	CHECK(cmap_set_uint32(handle, "uidgid.uid.65534", 1));
	connect_as(65534, 65534);
	CHECK(cmap_delete(handle, "uidgid.uid.65534"));
	CHECK(cmap_set_uint8(handle, "uidgid.gid.4711", 1));
	connect_as(65534, 65534);
	connect_as(65534, 4711);
	CHECK(cmap_delete(handle, "uidgid.gid.4711"));
	connect_as(65534, 4711);
	CHECK(cmap_set_uint8(handle, "uidgid.config.uid.65534", 1));
	connect_as(65534, 65534);
}

static void orphan(void)
{
	cmap_handle_t handle = open_map(CMAP_MAP_ICMAP), later;
	cmap_track_handle_t track;
	cmap_iter_handle_t iter;
	char name[CMAP_KEYNAME_MAXLEN + 1];
	struct pollfd end = { .events = POLLIN };
	char *text;

	CHECK(cmap_track_add(handle, "track.a", CMAP_TRACK_ADD, notified, "track", &track));
	CHECK(cmap_iter_init(handle, "totem", &iter));
	cmap_fd_get(handle, &end.fd);
	say("waiting\n");
	while (poll(&end, 1, -1) < 0 && errno == EINTR)
		;
	say("revents %s\n", end.revents & POLLHUP ? "HUP" : "no HUP");
	CHECK(cmap_dispatch(handle, CS_DISPATCH_ALL));
	CHECK(cmap_get_string(handle, "totem.transport", &text));
	CHECK(cmap_set_uint8(handle, "track.a", 1));
	CHECK(cmap_iter_next(handle, iter, name, NULL, NULL));
	CHECK(cmap_iter_finalize(handle, iter));
	CHECK(cmap_track_delete(handle, track));
	CHECK(cmap_finalize(handle));
	CHECK(cmap_initialize(&later));
}

int main(int count, char **arguments)
{
	const char *mode = count > 1 ? arguments[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(mode, "alone") == 0) {
		cmap_handle_t handle;

		life();
		handle = open_map(CMAP_MAP_ICMAP);
		parameters(handle);
		values(handle);
		read_only(handle);
		iterations(handle);
		tracks(handle);
		maintained(handle);
		statistics();
		access_control(handle);
		CHECK(cmap_finalize(handle));
	} else if (strcmp(mode, "orphan") == 0) {
		orphan();
	} else {
		fprintf(stderr, "usage: cmap_conformance alone | orphan\n");
		return 2;
	}
	say("== end\n");
	return 0;
}

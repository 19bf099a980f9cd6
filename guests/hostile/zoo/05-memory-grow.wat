;; W-05: asks for memory page by page and traps when it gets none, as an allocator does
;; outcome: call memory
;; says: KiB of memory
;; cost: quick

;;@route
(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)

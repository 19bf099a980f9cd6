;; W-13: a loop in the allocator
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget

;;@realloc
(if (i32.ne (local.get $size) (i32.const 2)) (then (loop $l (br $l))))

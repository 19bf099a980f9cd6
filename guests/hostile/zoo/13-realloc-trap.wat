;; W-13: a trap in the allocator
;; outcome: call trap
;; says: unreachable
;; cost: quick

;;@realloc
(if (i32.ne (local.get $size) (i32.const 2)) (then (unreachable)))
